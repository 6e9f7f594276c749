package broker

import (
	"context"

	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
)

// AddUser makes a local user. Of two callers with one name one makes the user, the other
// gets CodeUserExists. CodeInvalidUser tells what is wrong with nu.
func (b *Broker) AddUser(ctx context.Context, nu NewUser, req Request) (UserInfo, error) {
	if err := nu.validate(); err != nil {
		return UserInfo{}, err
	}
	linked, err := b.link(ctx, LocalIssuer, nu.Username)
	if err != nil {
		return UserInfo{}, b.internal(ctx, "adding a user", err)
	}
	if linked.user != nil { // before the dear hash
		return UserInfo{}, errUserExists()
	}
	hash, err := b.cfg.Passwords.Hash(ctx, nu.Password)
	if err != nil {
		return UserInfo{}, b.internal(ctx, "hashing the password", err)
	}
	uid := newID().String()
	user := session.NewUser(uid, nu.Username, hash, nu.Attributes, b.cfg.Clock.Now())
	user.Roles = nu.Roles
	err = b.retryConflicts(ctx, func() (*store.Change, error) {
		linked, err := b.link(ctx, LocalIssuer, nu.Username)
		if err != nil {
			return nil, err
		}
		if linked.user != nil {
			return nil, errUserExists()
		}
		return linked.newUser(user)
	})
	if err != nil {
		return UserInfo{}, b.internal(ctx, "adding a user", err)
	}
	b.audit(ctx, "user_add", req, "uid", uid, "username", nu.Username, "changed", true)
	return userInfo(user), nil
}

func errUserExists() *Error {
	return &Error{Code: CodeUserExists, Message: "The user name is taken."}
}
