package directory

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// CanonicalName returns the canonical form of a local user name: without white space (the Unicode property
// White_Space) at its ends, and in NFC. Users of earlier versions may have names in other forms,
// but all forms of a name are one account to the throttle.
func CanonicalName(name string) string { return norm.NFC.String(strings.TrimSpace(name)) }

// FoldName returns the same text for names that people may confuse: those that are equal under
// compatibility caseless matching (The Unicode Standard, D146), which is NFKC case folding,
// without invisible characters.
func FoldName(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.ToLower(name)
	}
	fold := cases.Fold()
	folded := norm.NFKD.String(fold.String(norm.NFD.String(name)))
	folded = strings.Map(func(r rune) rune {
		if Invisible(r) {
			return -1
		}
		return r
	}, folded)
	return norm.NFKC.String(fold.String(folded))
}

// Invisible reports whether a character is not shown, or only affects its neighbours.
func Invisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// nameRecord is the record name.<hash>: the users whose local names are equal under [FoldName]. There is
// only one, except for users of earlier versions. It is written with the user, so that of two concurrent
// requests for a name one succeeds. A uid whose user was removed or has another name reserves nothing.
type nameRecord struct {
	V    int      `json:"v"`
	UIDs []string `json:"uids"`
}

func nameKey(name string) string {
	sum := sha256.Sum256([]byte(FoldName(name)))
	return "name." + broker.Base32.EncodeToString(sum[:])
}

// readName returns a name record, or the zero record if there is none.
func readName(ctx context.Context, r store.Reader, key string) (record nameRecord, rev store.Revision, err error) {
	rev, err = ReadRecord(ctx, r, "the record of a user name", key, &record, &record.V)
	return record, rev, err
}

// writeName returns the write of a name record. Without uids, it deletes the record.
func writeName(key string, uids []string, rev store.Revision) (store.Write, error) {
	value, err := json.Marshal(nameRecord{V: RecordVersion, UIDs: uids})
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding the record of a user name: %w", err)
	}
	return store.Write{Key: key, Value: value, Delete: len(uids) == 0, Expect: rev}, nil
}

// nameReleases returns the writes that release the names of a removed user.
func nameReleases(ctx context.Context, r store.Reader, user *session.User) ([]store.Write, error) {
	var writes []store.Write
	for _, name := range localNames(user) {
		key := nameKey(name)
		record, rev, err := readName(ctx, r, key)
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

// ReserveName returns the write that reserves a local name for a new user. Errors: CodeUserExists if
// another user has the name, or one that people may confuse with it.
func ReserveName(ctx context.Context, r store.Reader, name, uid string) (store.Write, error) {
	key := nameKey(name)
	record, rev, err := readName(ctx, r, key)
	if err != nil {
		return store.Write{}, err
	}
	for _, holder := range record.UIDs {
		user, err := ReadUser(ctx, r, holder)
		if err != nil {
			return store.Write{}, err
		}
		if user == nil {
			continue
		}
		for _, held := range localNames(user) {
			if nameKey(held) == key {
				return store.Write{}, NameTaken(name, held)
			}
		}
	}
	return writeName(key, []string{uid}, rev)
}

// NameTaken returns the refusal of a new local name, because another user has the name held.
func NameTaken(name, held string) *broker.Error {
	if name == held {
		return &broker.Error{Code: broker.CodeUserExists, Message: "The user name is taken; choose another one."}
	}
	return &broker.Error{Code: broker.CodeUserExists, Message: fmt.Sprintf("The user name is taken by %q, because names that differ only in case or in how their characters are written count as one; choose another one.", held)}
}
