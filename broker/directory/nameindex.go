package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// namesRecord is the record names: the progress of making name records for the users of earlier versions.
type namesRecord struct {
	V int `json:"v"`
	// After is the key of the last user that was processed.
	After string `json:"after,omitempty"`
	Done  bool   `json:"done"`
}

const (
	namesKey = "names"
	// namesPage is the number of users whose name records are made in one change.
	namesPage = 256
)

func readNames(ctx context.Context, r store.Reader) (progress namesRecord, rev store.Revision, err error) {
	rev, err = ReadRecord(ctx, r, "the index of user names", namesKey, &progress, &progress.V)
	return progress, rev, err
}

// NamesIndexed reports whether the users of earlier versions have name records.
func NamesIndexed(ctx context.Context, r store.Reader) (bool, error) {
	progress, _, err := readNames(ctx, r)
	return progress.Done, err
}

// RestartIndex returns the writes after which [IndexPage] starts again: a store filled from a backup
// may lack name records.
func RestartIndex(ctx context.Context, r store.Reader) ([]store.Write, error) {
	switch rec, err := r.Get(ctx, namesKey); {
	case err == nil:
		return []store.Write{{Key: namesKey, Delete: true, Expect: rec.Revision}}, nil
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	default:
		return nil, fmt.Errorf("reading the index of user names: %w", err)
	}
}

// IndexPage returns the change that makes the name records of the next users, or nil if all exist.
func IndexPage(ctx context.Context, r store.Reader) (change *store.Change, done bool, err error) {
	progress, rev, err := readNames(ctx, r)
	if err != nil || progress.Done {
		return nil, progress.Done, err
	}
	page, err := r.List(ctx, UserKey(""), progress.After, namesPage)
	if err != nil {
		return nil, false, fmt.Errorf("listing users: %w", err)
	}
	change = new(store.Change)
	if change.Writes, err = indexWrites(ctx, r, page); err != nil {
		return nil, false, err
	}
	if len(page) > 0 {
		progress.After = page[len(page)-1].Key
	}
	progress.V, progress.Done = RecordVersion, len(page) < namesPage
	value, err := json.Marshal(progress)
	if err != nil {
		return nil, false, fmt.Errorf("encoding the index of user names: %w", err)
	}
	change.Writes = append(change.Writes, store.Write{Key: namesKey, Value: value, Expect: rev})
	return change, progress.Done, nil
}

// indexWrites returns the writes that add users to the name records.
func indexWrites(ctx context.Context, r store.Reader, users []store.Record) ([]store.Write, error) {
	held := make(map[string][]string) // uids by the key of their name record
	for _, rec := range users {
		user, err := session.DecodeUser(rec.Value)
		if errors.Is(err, session.ErrRecord) {
			continue // no one can sign in as a user whose record is damaged
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
