package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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

// accountLink is what an account is linked to now. One whose user was removed is linked to
// nobody (user is nil) but still has a revision.
type accountLink struct {
	account session.Account
	uid     string
	user    *session.User
	rev     store.Revision
}

// link reads what the account is linked to.
func (b *Broker) link(ctx context.Context, issuer, subject string) (accountLink, error) {
	linked := accountLink{account: session.Account{Issuer: issuer, Subject: subject}}
	identity, rev, err := readIdentity(ctx, b.cfg.Store, issuer, subject)
	if err != nil || rev == 0 {
		return linked, err
	}
	linked.uid, linked.rev = identity.UID, rev
	linked.user, err = b.user(ctx, identity.UID)
	return linked, err
}

// readIdentity returns the record of an account's link; the zero record when there is none.
func readIdentity(ctx context.Context, r store.Reader, issuer, subject string) (identity identityRecord, rev store.Revision, err error) {
	rev, err = readRecord(ctx, r, "the identity", identityKey(issuer, subject), &identity, &identity.V)
	return identity, rev, err
}

// newUser is the change that makes user, whose only account this is, unless somebody linked
// it since it was read.
func (l accountLink) newUser(user *session.User) (*store.Change, error) {
	user.Accounts = []session.Account{{Issuer: l.account.Issuer, Subject: l.account.Subject}}
	record, err := user.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding the user: %w", err)
	}
	link, err := json.Marshal(identityRecord{V: recordVersion, UID: user.UID, Issuer: l.account.Issuer, Subject: l.account.Subject})
	if err != nil {
		return nil, fmt.Errorf("encoding the identity: %w", err)
	}
	return &store.Change{Writes: []store.Write{
		{Key: userKey(user.UID), Value: record},
		{Key: identityKey(l.account.Issuer, l.account.Subject), Value: link, Expect: l.rev},
	}}, nil
}

// user returns the user's record, or nil.
func (b *Broker) user(ctx context.Context, uid string) (*session.User, error) {
	rec, err := b.cfg.Store.Get(ctx, userKey(uid))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the user: %w", err)
	}
	return session.DecodeUser(rec.Value)
}

// userByRef returns the user that an operator means: a text of a uid's form that is one, else a
// local user name, as at a sign-in. CodeUnknownUser when there is none.
func (b *Broker) userByRef(ctx context.Context, ref string) (*session.User, error) {
	ref = strings.TrimSpace(ref)
	if _, ok := parseID(ref); ok {
		user, err := b.user(ctx, ref)
		if err != nil || user != nil {
			return user, err
		}
	}
	linked, err := b.localAccount(ctx, ref)
	if err == nil && linked.user == nil {
		err = errUnknownUser()
	}
	return linked.user, err
}

func errUnknownUser() *Error {
	return &Error{Code: CodeUnknownUser, Message: "There is no such user."}
}
