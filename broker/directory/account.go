package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// identityRecord is the record identity.<hash>: the one link from an account to a user.
type identityRecord struct {
	V       int    `json:"v"`
	UID     string `json:"uid"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// Link is the link of an account to a user. If the user was removed, User is nil, but the link still
// has a revision.
type Link struct {
	Account session.Account
	UID     string
	User    *session.User
	rev     store.Revision
}

// ReadLink reads the link of an account.
func ReadLink(ctx context.Context, r store.Reader, issuer, subject string) (Link, error) {
	linked := Link{Account: session.Account{Issuer: issuer, Subject: subject}}
	identity, rev, err := readIdentity(ctx, r, issuer, subject)
	if err != nil || rev == 0 {
		return linked, err
	}
	linked.UID, linked.rev = identity.UID, rev
	linked.User, err = ReadUser(ctx, r, identity.UID)
	return linked, err
}

// readIdentity returns the record of an account's link, or the zero record if there is none.
func readIdentity(ctx context.Context, r store.Reader, issuer, subject string) (identity identityRecord, rev store.Revision, err error) {
	rev, err = ReadRecord(ctx, r, "the identity", identityKey(issuer, subject), &identity, &identity.V)
	return identity, rev, err
}

// NewUser returns the change that creates user with this only account. It meets a conflict if the account was linked
// since the link was read.
func (l Link) NewUser(user *session.User) (*store.Change, error) {
	user.Accounts = []session.Account{{Issuer: l.Account.Issuer, Subject: l.Account.Subject}}
	record, err := user.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding the user: %w", err)
	}
	link, err := json.Marshal(identityRecord{V: RecordVersion, UID: user.UID, Issuer: l.Account.Issuer, Subject: l.Account.Subject})
	if err != nil {
		return nil, fmt.Errorf("encoding the identity: %w", err)
	}
	return &store.Change{Writes: []store.Write{
		{Key: UserKey(user.UID), Value: record},
		{Key: identityKey(l.Account.Issuer, l.Account.Subject), Value: link, Expect: l.rev},
	}}, nil
}

// ReadUser returns the user, or nil if there is none.
func ReadUser(ctx context.Context, r store.Reader, uid string) (*session.User, error) {
	rec, err := r.Get(ctx, UserKey(uid))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the user: %w", err)
	}
	return session.DecodeUser(rec.Value)
}

// LocalAccount returns the link of the local account that a person or an operator means by name. White
// space at the ends is ignored. The exact name is looked up first, then its NFC, the form of names that this
// version creates, and then its NFD, which earlier versions stored if it was entered.
func LocalAccount(ctx context.Context, r store.Reader, name string) (Link, error) {
	name = strings.TrimSpace(name)
	forms := []string{name}
	for _, form := range []norm.Form{norm.NFC, norm.NFD} {
		if other := form.String(name); !slices.Contains(forms, other) {
			forms = append(forms, other)
		}
	}
	var linked Link
	for _, form := range forms {
		var err error
		if linked, err = ReadLink(ctx, r, broker.LocalIssuer, form); err != nil || linked.User != nil {
			return linked, err
		}
	}
	return linked, nil
}

// localNames returns the names by which a user can sign in with a password.
func localNames(u *session.User) []string {
	var names []string
	for _, a := range Accounts(u) {
		if a.Issuer == broker.LocalIssuer {
			names = append(names, a.Subject)
		}
	}
	return names
}

// Removal returns the writes that delete a user's record, whose revision is rev, the links of the user's
// accounts, and the reservations of the user's local names.
func Removal(ctx context.Context, r store.Reader, user *session.User, rev store.Revision) ([]store.Write, error) {
	writes := []store.Write{{Key: UserKey(user.UID), Delete: true, Expect: rev}}
	for _, a := range Accounts(user) {
		identity, rev, err := readIdentity(ctx, r, a.Issuer, a.Subject)
		if err != nil {
			return nil, err
		}
		if rev != 0 && identity.UID == user.UID {
			writes = append(writes, store.Write{Key: identityKey(a.Issuer, a.Subject), Delete: true, Expect: rev})
		}
	}
	releases, err := nameReleases(ctx, r, user)
	return append(writes, releases...), err
}

// PutUser returns the write of a user's record, whose revision is rev.
func PutUser(user *session.User, rev store.Revision) (store.Write, error) {
	value, err := user.Encode()
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding the user: %w", err)
	}
	return store.Write{Key: UserKey(user.UID), Value: value, Expect: rev}, nil
}
