package operator

import (
	"context"
	"fmt"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// AddUser creates a local user. The name is stored in its canonical form: without white space at its
// ends, in NFC. The error is CodeUserExists if another user has the name, or a name that differs only in case or in
// how its characters are written; of two concurrent callers with such names, one creates the user.
// The message of CodeInvalidUser names what is wrong with nu.
func (svc *Service) AddUser(ctx context.Context, nu NewUser, req broker.Request) (UserInfo, error) {
	nu.Username = directory.CanonicalName(nu.Username)
	if err := nu.validate(); err != nil {
		return UserInfo{}, err
	}
	if err := svc.indexNames(ctx); err != nil {
		return UserInfo{}, commit.AppError(ctx, "indexing user names", err)
	}
	uid := broker.NewID().String()
	if _, err := directory.ReserveName(ctx, svc.cfg.Store, nu.Username, uid); err != nil { // before the expensive hash
		return UserInfo{}, commit.AppError(ctx, "adding a user", err)
	}
	hash, err := svc.cfg.Passwords.Hash(ctx, nu.Password)
	if err != nil {
		return UserInfo{}, commit.AppError(ctx, "hashing the password", err)
	}
	user := session.NewUser(uid, nu.Username, hash, nu.Attributes, svc.cfg.Clock.Now())
	user.Roles = nu.Roles
	err = svc.path.Update(ctx, func() (*store.Change, error) {
		linked, err := directory.ReadLink(ctx, svc.cfg.Store, broker.LocalIssuer, nu.Username)
		if err != nil {
			return nil, err
		}
		if linked.User != nil {
			return nil, directory.NameTaken(nu.Username, nu.Username)
		}
		reservation, err := directory.ReserveName(ctx, svc.cfg.Store, nu.Username, uid)
		if err != nil {
			return nil, err
		}
		change, err := linked.NewUser(user)
		if err != nil {
			return nil, err
		}
		change.Writes = append(change.Writes, reservation)
		return change, nil
	})
	if err != nil {
		return UserInfo{}, commit.AppError(ctx, "adding a user", err)
	}
	svc.audit.Info(ctx, "user_add", req, "uid", uid, "username", nu.Username, "changed", true)
	return userInfo(user), nil
}

// indexNames makes the name records of the users of earlier versions, so that a new name can
// be compared with theirs. The next call continues after one that ended early.
func (svc *Service) indexNames(ctx context.Context) error {
	if indexed, err := directory.NamesIndexed(ctx, svc.cfg.Store); err != nil || indexed {
		return err
	}
	if err := svc.naming.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("waiting for the index of user names: %w", err)
	}
	defer svc.naming.Release(1)
	for {
		done := false
		if err := svc.path.Update(ctx, func() (change *store.Change, err error) {
			change, done, err = directory.IndexPage(ctx, svc.cfg.Store)
			return change, err
		}); err != nil || done {
			return err
		}
	}
}
