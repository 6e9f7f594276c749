package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// namesRecord is the record names: how far the users of earlier versions have name records.
type namesRecord struct {
	V int `json:"v"`
	// After is the key of the last user that was looked at.
	After string `json:"after,omitempty"`
	Done  bool   `json:"done"`
}

const (
	namesKey = "names"
	// namesPage is how many users get their name records in one change.
	namesPage = 256
)

// indexNames makes the name records of the users of earlier versions, so that a new name can
// be compared with theirs. A call that ends early leaves what it made; the next goes on there.
func (b *Broker) indexNames(ctx context.Context) error {
	if progress, _, err := readNames(ctx, b.cfg.Store); err != nil || progress.Done {
		return err
	}
	if err := b.naming.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("waiting for the index of user names: %w", err)
	}
	defer b.naming.Release(1)
	for {
		done := false
		if err := b.retryConflicts(ctx, func() (change *store.Change, err error) {
			change, done, err = b.indexPage(ctx)
			return change, err
		}); err != nil || done {
			return err
		}
	}
}

func readNames(ctx context.Context, r store.Reader) (progress namesRecord, rev store.Revision, err error) {
	rev, err = readRecord(ctx, r, "the index of user names", namesKey, &progress, &progress.V)
	return progress, rev, err
}

// indexPage is the change that makes the name records of the next users; nil when all are made.
func (b *Broker) indexPage(ctx context.Context) (change *store.Change, done bool, err error) {
	progress, rev, err := readNames(ctx, b.cfg.Store)
	if err != nil || progress.Done {
		return nil, progress.Done, err
	}
	page, err := b.cfg.Store.List(ctx, userKey(""), progress.After, namesPage)
	if err != nil {
		return nil, false, fmt.Errorf("listing users: %w", err)
	}
	change = new(store.Change)
	if change.Writes, err = indexWrites(ctx, b.cfg.Store, page); err != nil {
		return nil, false, err
	}
	if len(page) > 0 {
		progress.After = page[len(page)-1].Key
	}
	progress.V, progress.Done = recordVersion, len(page) < namesPage
	value, err := json.Marshal(progress)
	if err != nil {
		return nil, false, fmt.Errorf("encoding the index of user names: %w", err)
	}
	change.Writes = append(change.Writes, store.Write{Key: namesKey, Value: value, Expect: rev})
	return change, progress.Done, nil
}

// indexWrites are the writes that add the users of the records to the name records.
func indexWrites(ctx context.Context, r store.Reader, users []store.Record) ([]store.Write, error) {
	held := make(map[string][]string) // uids by the key of their name record
	for _, rec := range users {
		user, err := session.DecodeUser(rec.Value)
		if errors.Is(err, session.ErrRecord) {
			continue // nobody can sign in as that user
		}
		if err != nil {
			return nil, err
		}
		for _, name := range localNames(user) {
			key := nameKey(name)
			held[key] = append(held[key], user.UID)
		}
	}
	var writes []store.Write
	for key, uids := range held {
		record, rev, err := readName(ctx, r, key)
		if err != nil {
			return nil, err
		}
		for _, uid := range uids {
			if !slices.Contains(record.UIDs, uid) {
				record.UIDs = append(record.UIDs, uid)
			}
		}
		write, err := writeName(key, record.UIDs, rev)
		if err != nil {
			return nil, err
		}
		writes = append(writes, write)
	}
	return writes, nil
}
