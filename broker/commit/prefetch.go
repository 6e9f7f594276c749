package commit

import (
	"context"

	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// prefetched is a reader that has read some records together, which costs one round trip to an engine on the network. It
// reads other records when they are asked for. It is for one goroutine.
type prefetched struct {
	store.Reader
	records map[string]store.Record // the revision is zero if the record does not exist
}

func prefetching(r store.Reader) *prefetched {
	return &prefetched{Reader: r, records: make(map[string]store.Record)}
}

// fetch reads the records of keys that were not read before. It owns keys.
func (p *prefetched) fetch(ctx context.Context, keys ...string) error {
	missing := keys[:0]
	for _, key := range keys {
		if _, read := p.records[key]; !read {
			p.records[key] = store.Record{} // so that it is read once
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	records, err := p.GetMany(ctx, missing)
	if err != nil {
		for _, key := range missing {
			delete(p.records, key)
		}
		return err
	}
	for i, record := range records {
		p.records[missing[i]] = record
	}
	return nil
}

// Get implements [store.Reader].
func (p *prefetched) Get(ctx context.Context, key string) (store.Record, error) {
	record, read := p.records[key]
	switch {
	case !read:
		return p.Reader.Get(ctx, key)
	case record.Revision == 0:
		return store.Record{}, store.ErrNotFound
	}
	return record, nil
}

// addReads appends the keys of the records that the decision of the message is known to read, besides the floor. What
// depends on their contents, it reads itself.
func (m Message) addReads(keys []string) []string {
	keys = append(keys, directory.UserKey(m.UID))
	if m.SID != "" {
		keys = append(keys, SessionKey(m.UID, m.SID))
	}
	if m.ClientID != "" {
		keys = append(keys, directory.ClientKey(m.ClientID))
	}
	for _, mark := range m.Marks {
		keys = append(keys, mark.key)
	}
	if open, opens := m.Message.(session.Open); opens {
		keys = append(keys, sessionListKey(m.UID))
		if open.BrowserSID != "" {
			keys = append(keys, SessionKey(m.UID, open.BrowserSID))
		}
	}
	return keys
}
