package broker

import (
	"context"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// AddUser makes a local user, whose name is kept in its canonical form: without white space at its
// ends, in NFC. A name that another user has, or that differs from it only in case or in how its
// characters are written, is CodeUserExists; of two callers with such names one makes the user.
// CodeInvalidUser tells what is wrong with nu.
func (b *Broker) AddUser(ctx context.Context, nu NewUser, req Request) (UserInfo, error) {
	nu.Username = canonicalName(nu.Username)
	if err := nu.validate(); err != nil {
		return UserInfo{}, err
	}
	if err := b.indexNames(ctx); err != nil {
		return UserInfo{}, b.internal(ctx, "indexing user names", err)
	}
	uid := newID().String()
	if _, err := b.reserveName(ctx, nu.Username, uid); err != nil { // before the expensive hash
		return UserInfo{}, b.internal(ctx, "adding a user", err)
	}
	hash, err := b.cfg.Passwords.Hash(ctx, nu.Password)
	if err != nil {
		return UserInfo{}, b.internal(ctx, "hashing the password", err)
	}
	user := session.NewUser(uid, nu.Username, hash, nu.Attributes, b.cfg.Clock.Now())
	user.Roles = nu.Roles
	err = b.retryConflicts(ctx, func() (*store.Change, error) {
		linked, err := b.link(ctx, LocalIssuer, nu.Username)
		if err != nil {
			return nil, err
		}
		if linked.user != nil {
			return nil, errNameTaken(nu.Username, nu.Username)
		}
		reservation, err := b.reserveName(ctx, nu.Username, uid)
		if err != nil {
			return nil, err
		}
		change, err := linked.newUser(user)
		if err != nil {
			return nil, err
		}
		change.Writes = append(change.Writes, reservation)
		return change, nil
	})
	if err != nil {
		return UserInfo{}, b.internal(ctx, "adding a user", err)
	}
	b.audit(ctx, "user_add", req, "uid", uid, "username", nu.Username, "changed", true)
	return userInfo(user), nil
}
