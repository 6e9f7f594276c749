package commit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

const (
	// maxListed bounds the record of a user's sessions. A user of an earlier version with
	// more sessions gets a record once sign-ins have ended enough of them.
	maxListed = 2048
	// listPage is how many sessions are read at a time for a user without such a record.
	listPage = 256
)

// sessionListRecord is the record listed.<uid>: the user's sessions that may be alive, oldest
// first. Only a sign-in reads and writes it. A session that ended by itself stays listed until its place is needed.
type sessionListRecord struct {
	V    int      `json:"v"`
	SIDs []string `json:"sids"`
	// ExpiresAt is the expiry of the record, which is that of the session that lasts longest.
	ExpiresAt int64 `json:"expires,omitempty"`
}

func sessionListKey(uid string) string { return "listed." + uid }

// sessionList is the record as a view has read and changed it.
type sessionList struct {
	sids    []string
	rev     store.Revision
	read    bool
	put     bool
	expires int64
}

// addSessionList adds to the state of an Open the list of the user's sessions and, if there are bound
// or more, the state of each.
func (v *UserView) addSessionList(ctx context.Context, st *session.State, bound int) error {
	if err := v.readSessionList(ctx); err != nil {
		return err
	}
	st.Listed = v.sessionList.sids
	if len(st.Listed) < bound {
		return nil
	}
	var reads []string
	for _, sid := range st.Listed {
		if v.sessions[sid] == nil {
			reads = append(reads, SessionKey(v.uid, sid))
		}
	}
	if err := v.reader.fetch(ctx, reads...); err != nil {
		return fmt.Errorf("reading the listed sessions: %w", err)
	}
	for _, sid := range st.Listed {
		one, err := v.state(ctx, sid, "")
		switch {
		case errors.Is(err, session.ErrRecord): // a damaged session cannot be used
			continue
		case err != nil:
			return err
		case one.Session == nil:
			continue
		}
		st.Earlier = append(st.Earlier, one)
	}
	return nil
}

func (v *UserView) readSessionList(ctx context.Context) error {
	if v.sessionList.read {
		return nil
	}
	rec, err := v.reader.Get(ctx, sessionListKey(v.uid))
	switch {
	case errors.Is(err, store.ErrNotFound):
		if v.sessionList.sids, err = v.findSessions(ctx); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("reading the list of sessions: %w", err)
	default:
		var r sessionListRecord
		if err := directory.DecodeRecord("the list of sessions", rec.Value, &r, &r.V); err != nil {
			return err
		}
		v.sessionList.sids, v.sessionList.rev, v.sessionList.expires = r.SIDs, rec.Revision, r.ExpiresAt
	}
	v.sessionList.read = true
	return nil
}

// findSessions builds the list for a user of an earlier version, who has no record of it.
func (v *UserView) findSessions(ctx context.Context) ([]string, error) {
	var found []*session.Session
	prefix, after := SessionKey(v.uid, ""), ""
	for {
		page, err := v.reader.List(ctx, prefix, after, listPage)
		if err != nil {
			return nil, fmt.Errorf("listing sessions: %w", err)
		}
		for _, rec := range page {
			after = rec.Key
			if s, err := session.DecodeSession(rec.Value); err == nil && s.Ended == nil { // a damaged session cannot be used
				found = append(found, s)
			}
		}
		if len(page) < listPage {
			break
		}
	}
	slices.SortStableFunc(found, func(a, b *session.Session) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	sids := make([]string, len(found))
	for i, s := range found {
		sids[i] = s.SID
	}
	return sids, nil
}

// putSessionList appends the write of the changed record.
func (v *UserView) putSessionList(writes []store.Write) ([]store.Write, error) {
	if len(v.sessionList.sids) > maxListed {
		return writes, nil
	}
	value, err := json.Marshal(sessionListRecord{V: directory.RecordVersion, SIDs: v.sessionList.sids, ExpiresAt: v.sessionList.expires})
	if err != nil {
		return nil, fmt.Errorf("encoding the list of sessions: %w", err)
	}
	return append(writes, store.Write{
		Key: sessionListKey(v.uid), Value: value, Expect: v.sessionList.rev, ExpiresAt: v.sessionList.expires,
	}), nil
}

// removal returns the writes that delete the removed user's record, accounts, names and list of sessions.
func (v *UserView) removal(ctx context.Context) ([]store.Write, error) {
	if err := v.readSessionList(ctx); err != nil && !errors.Is(err, session.ErrRecord) {
		return nil, err
	}
	writes, err := directory.Removal(ctx, v.reader, v.removed, v.userRev)
	if v.sessionList.rev != 0 {
		writes = append(writes, store.Write{Key: sessionListKey(v.uid), Delete: true, Expect: v.sessionList.rev})
	}
	v.sessionList.put = false // of a sign-in earlier in the batch
	return writes, err
}
