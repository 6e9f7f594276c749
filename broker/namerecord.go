package broker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// nameRecord is the record name.<hash>: the users whose local names are one under [foldName]. There is
// one, but for users of earlier versions. It is written with the user, so that of two names at
// once one is given. A uid whose user is gone or has another name reserves nothing.
type nameRecord struct {
	V    int      `json:"v"`
	UIDs []string `json:"uids"`
}

func nameKey(name string) string {
	sum := sha256.Sum256([]byte(foldName(name)))
	return "name." + lowerBase32.EncodeToString(sum[:])
}

// readName returns a name record; the zero record when there is none.
func readName(ctx context.Context, r store.Reader, key string) (record nameRecord, rev store.Revision, err error) {
	rev, err = readRecord(ctx, r, "who has a user name", key, &record, &record.V)
	return record, rev, err
}

// writeName is the write that makes uids those who have the name, and deletes the record of none.
func writeName(key string, uids []string, rev store.Revision) (store.Write, error) {
	value, err := json.Marshal(nameRecord{V: recordVersion, UIDs: uids})
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding who has a user name: %w", err)
	}
	return store.Write{Key: key, Value: value, Delete: len(uids) == 0, Expect: rev}, nil
}

// localNames are the names by which a user can sign in here.
func localNames(u *session.User) []string {
	var names []string
	for _, a := range accountsOf(u) {
		if a.Issuer == LocalIssuer {
			names = append(names, a.Subject)
		}
	}
	return names
}

// reserveName is the write that gives a local name to a new user. Errors: CodeUserExists when
// another user has it, or one that people could take for it.
func (b *Broker) reserveName(ctx context.Context, name, uid string) (store.Write, error) {
	key := nameKey(name)
	record, rev, err := readName(ctx, b.cfg.Store, key)
	if err != nil {
		return store.Write{}, err
	}
	for _, holder := range record.UIDs {
		user, err := b.user(ctx, holder)
		if err != nil {
			return store.Write{}, err
		}
		if user == nil {
			continue
		}
		for _, held := range localNames(user) {
			if nameKey(held) == key {
				return store.Write{}, errNameTaken(name, held)
			}
		}
	}
	return writeName(key, []string{uid}, rev)
}

func errNameTaken(name, held string) *Error {
	if name == held {
		return &Error{Code: CodeUserExists, Message: "The user name is taken."}
	}
	return &Error{Code: CodeUserExists, Message: fmt.Sprintf("The user name is taken by %q: names that differ only in case or in how their characters are written are one.", held)}
}

// nameReleases are the writes by which a user who is removed gives the names back.
func (v *userView) nameReleases(ctx context.Context, user *session.User) ([]store.Write, error) {
	var writes []store.Write
	for _, name := range localNames(user) {
		key := nameKey(name)
		record, rev, err := readName(ctx, v.reader, key)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(record.UIDs, user.UID) {
			continue
		}
		write, err := writeName(key, slices.DeleteFunc(record.UIDs, func(uid string) bool { return uid == user.UID }), rev)
		if err != nil {
			return nil, err
		}
		writes = append(writes, write)
	}
	return writes, nil
}
