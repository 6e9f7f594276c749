package broker

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

// UpdateUser replaces attributes, roles or both; tokens show it from the next refresh on. A
// login at a provider brings that account's attributes again. Errors: CodeUnknownUser, CodeInvalidUser.
func (b *Broker) UpdateUser(ctx context.Context, ref string, change UserChange, req Request) (UserInfo, error) {
	if err := change.validate(); err != nil {
		return UserInfo{}, err
	}
	return b.editUser(ctx, "user_update", ref, req, func(user *session.User) {
		if change.Attributes != nil {
			user.Attributes = change.Attributes
		}
		if change.Roles != nil {
			user.Roles = change.Roles
		}
	})
}

// EnableUser lets a disabled user sign in again. The old sessions stay dead: the epoch that
// ended them is not taken back. Errors: CodeUnknownUser.
func (b *Broker) EnableUser(ctx context.Context, ref string, req Request) (UserInfo, error) {
	return b.editUser(ctx, "user_enable", ref, req, func(user *session.User) { user.Disabled = false })
}

// DisableUser keeps the user from signing in and ends all sessions and tokens; done twice,
// the second is Changed=false. Errors: CodeUnknownUser.
func (b *Broker) DisableUser(ctx context.Context, ref string, req Request) (Revoked, error) {
	user, err := b.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, b.internal(ctx, "disabling a user", err)
	}
	return b.endUser(ctx, userEnd{
		event: "user_disable", uid: user.UID, reason: revocation.ReasonUserDisabled,
		writes: func(user *session.User, rev store.Revision) ([]store.Write, error) {
			if user.Disabled {
				return nil, nil
			}
			user.Disabled = true
			return putUser(user, rev)
		},
	}, req)
}

// SetPassword gives a local user another password and, unless keepSessions, ends all sessions
// and tokens. A sign-in with the old one that is under way opens no session. Errors:
// CodeUnknownUser; CodeInvalidUser, also for a user who has no local name to sign in with.
func (b *Broker) SetPassword(ctx context.Context, ref, password string, keepSessions bool, req Request) (Revoked, error) {
	if err := validatePassword(password); err != nil {
		return Revoked{}, err
	}
	user, err := b.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, b.internal(ctx, "setting a password", err)
	}
	if !slices.ContainsFunc(accountsOf(user), func(a session.Account) bool { return a.Issuer == LocalIssuer }) {
		return Revoked{}, invalidUser("This user signs in at a provider and has no password here.")
	}
	hash, err := b.cfg.Passwords.Hash(ctx, password)
	if err != nil {
		return Revoked{}, b.internal(ctx, "hashing the password", err)
	}
	set := func(user *session.User) {
		user.PasswordHash = hash
		user.PasswordSerial++
	}
	if keepSessions {
		info, err := b.editUser(ctx, "user_password", user.UID, req, set)
		if err != nil {
			return Revoked{}, err
		}
		return Revoked{Kind: string(revocation.KindSub), Value: info.UID, Epoch: info.Epoch, Changed: true, Broadcast: true}, nil
	}
	return b.endUser(ctx, userEnd{
		event: "user_password", uid: user.UID, reason: revocation.ReasonRevoked,
		writes: func(user *session.User, rev store.Revision) ([]store.Write, error) {
			set(user)
			return putUser(user, rev)
		},
	}, req)
}

// editUser changes a user's record and nothing else; it writes nothing when edit changes nothing.
func (b *Broker) editUser(ctx context.Context, event, ref string, req Request, edit func(*session.User)) (UserInfo, error) {
	found, err := b.userByRef(ctx, ref)
	if err != nil {
		return UserInfo{}, b.internal(ctx, "changing a user", err)
	}
	var (
		info    UserInfo
		changed bool
	)
	err = b.retryConflicts(ctx, func() (*store.Change, error) {
		user, rev, err := b.userRevision(ctx, found.UID)
		if err != nil {
			return nil, err
		}
		if user == nil {
			return nil, errUnknownUser()
		}
		before, err := user.Encode()
		if err != nil {
			return nil, fmt.Errorf("encoding the user: %w", err)
		}
		edit(user)
		info = userInfo(user)
		writes, err := putUser(user, rev)
		if err != nil {
			return nil, err
		}
		if changed = !bytes.Equal(before, writes[0].Value); !changed {
			return nil, nil
		}
		return &store.Change{Writes: writes}, nil
	})
	if err != nil {
		return UserInfo{}, b.internal(ctx, "changing a user", err)
	}
	b.audit(ctx, event, req, "uid", found.UID, "changed", changed)
	return info, nil
}
