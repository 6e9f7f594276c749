package broker

import (
	"context"
	"slices"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// UpdateUser replaces attributes, roles or both; tokens show it from the next refresh on. A
// login at a provider brings that account's attributes again. Errors: CodeUnknownUser, CodeInvalidUser.
func (b *Broker) UpdateUser(ctx context.Context, ref string, change UserChange, req Request) (UserInfo, error) {
	if err := change.validate(); err != nil {
		return UserInfo{}, err
	}
	return b.editUser(ctx, "user_update", ref, session.UpdateUser{Attributes: change.Attributes, Roles: change.Roles}, req)
}

// EnableUser lets a disabled user sign in again. The old sessions stay dead: the epoch that
// ended them is not taken back. Errors: CodeUnknownUser.
func (b *Broker) EnableUser(ctx context.Context, ref string, req Request) (UserInfo, error) {
	return b.editUser(ctx, "user_enable", ref, session.EnableUser{}, req)
}

// DisableUser keeps the user from signing in and ends all sessions and tokens; done twice,
// the second is Changed=false. Errors: CodeUnknownUser.
func (b *Broker) DisableUser(ctx context.Context, ref string, req Request) (Revoked, error) {
	user, err := b.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, b.internal(ctx, "disabling a user", err)
	}
	return b.endUser(ctx, "user_disable", user.UID, session.DisableUser{}, req)
}

// SetPassword gives a local user another password and, unless keepSessions, ends all sessions
// and tokens. A sign-in with the old one that is under way opens no session. Errors:
// CodeUnknownUser; CodeInvalidUser, also for a user who has no local name to sign in with and
// for a password that breaks a rule of the password package.
func (b *Broker) SetPassword(ctx context.Context, ref, password string, keepSessions bool, req Request) (Revoked, error) {
	user, err := b.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, b.internal(ctx, "setting a password", err)
	}
	accounts := accountsOf(user)
	local := slices.IndexFunc(accounts, func(a session.Account) bool { return a.Issuer == LocalIssuer })
	if local < 0 {
		return Revoked{}, invalidUser("This user signs in at a provider and has no password here.")
	}
	if err := validatePassword(password, accounts[local].Subject, false); err != nil {
		return Revoked{}, err
	}
	hash, err := b.cfg.Passwords.Hash(ctx, password)
	if err != nil {
		return Revoked{}, b.internal(ctx, "hashing the password", err)
	}
	if !keepSessions {
		return b.endUser(ctx, "user_password", user.UID, session.SetPassword{Hash: hash}, req)
	}
	info, err := b.editUser(ctx, "user_password", user.UID, session.SetPassword{Hash: hash, KeepSessions: true}, req)
	if err != nil {
		return Revoked{}, err
	}
	return Revoked{Kind: string(revocation.KindSub), Value: info.UID, Epoch: info.Epoch, Changed: true, Broadcast: true}, nil
}

// editUser has the user's shard decide a change that ends nothing; there may be nothing to write.
func (b *Broker) editUser(ctx context.Context, event, ref string, msg session.Message, req Request) (UserInfo, error) {
	user, err := b.userByRef(ctx, ref)
	if err != nil {
		return UserInfo{}, b.internal(ctx, "changing a user", err)
	}
	result, err := b.changeUser(ctx, user.UID, msg, req.Operator)
	if err != nil {
		return UserInfo{}, err
	}
	b.audit(ctx, event, req, "uid", user.UID, "changed", result.effects.PutUser != nil)
	return userInfo(result.effects.User), nil
}
