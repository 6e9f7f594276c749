package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// UpdateUser replaces attributes, roles or both. Tokens contain them from the next refresh on. A
// login at a provider sets that account's attributes again. Errors: CodeUnknownUser, CodeInvalidUser.
func (svc *Service) UpdateUser(ctx context.Context, ref string, change UserChange, req broker.Request) (UserInfo, error) {
	if err := change.validate(); err != nil {
		return UserInfo{}, err
	}
	return svc.editUser(ctx, "user_update", ref, session.UpdateUser{Attributes: change.Attributes, Roles: change.Roles}, req)
}

// EnableUser lets a disabled user sign in again. The earlier sessions stay ended, because the user keeps the
// epoch. Errors: CodeUnknownUser.
func (svc *Service) EnableUser(ctx context.Context, ref string, req broker.Request) (UserInfo, error) {
	return svc.editUser(ctx, "user_enable", ref, session.EnableUser{}, req)
}

// DisableUser prevents the user from signing in, ends all sessions and revokes all tokens. If the user was
// already disabled, Changed is false. Errors: CodeUnknownUser.
func (svc *Service) DisableUser(ctx context.Context, ref string, req broker.Request) (Revoked, error) {
	user, err := svc.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, commit.AppError(ctx, "disabling a user", err)
	}
	return svc.endUser(ctx, "user_disable", user.UID, session.DisableUser{}, req)
}

// SetPassword sets a local user's password and, unless keepSessions, ends all sessions
// and revokes all tokens. A concurrent sign-in with the old password opens no session. Errors:
// CodeUnknownUser; CodeInvalidUser, also for a user who has no local name to sign in with and
// for a password that breaks a rule of the password package.
func (svc *Service) SetPassword(ctx context.Context, ref, password string, keepSessions bool, req broker.Request) (Revoked, error) {
	user, err := svc.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, commit.AppError(ctx, "setting a password", err)
	}
	accounts := directory.Accounts(user)
	local := slices.IndexFunc(accounts, func(a session.Account) bool { return a.Issuer == broker.LocalIssuer })
	if local < 0 {
		return Revoked{}, invalidUser("This user signs in only at a provider and cannot have a password here; change it at the provider.")
	}
	if err := validatePassword(password, accounts[local].Subject, false); err != nil {
		return Revoked{}, err
	}
	hash, err := svc.cfg.Passwords.Hash(ctx, password)
	if err != nil {
		return Revoked{}, commit.AppError(ctx, "hashing the password", err)
	}
	if !keepSessions {
		return svc.endUser(ctx, "user_password", user.UID, session.SetPassword{Hash: hash}, req)
	}
	info, err := svc.editUser(ctx, "user_password", user.UID, session.SetPassword{Hash: hash, KeepSessions: true}, req)
	if err != nil {
		return Revoked{}, err
	}
	return Revoked{Kind: string(revocation.KindSub), Value: info.UID, Epoch: info.Epoch, Changed: true, Broadcast: true}, nil
}

// editUser sends the user's shard a change that ends no sessions. The change may write nothing.
func (svc *Service) editUser(ctx context.Context, event, ref string, msg session.Message, req broker.Request) (UserInfo, error) {
	user, err := svc.userByRef(ctx, ref)
	if err != nil {
		return UserInfo{}, commit.AppError(ctx, "changing a user", err)
	}
	result, err := svc.changeUser(ctx, user.UID, msg, req.Operator)
	if err != nil {
		return UserInfo{}, err
	}
	svc.audit.Info(ctx, event, req, "uid", user.UID, "changed", result.Effects.PutUser != nil)
	return userInfo(result.Effects.User), nil
}

// endUser sends the user's shard a change that ends all earlier sessions and tokens. The shard
// orders it among the user's sign-ins and refreshes.
func (svc *Service) endUser(ctx context.Context, event, uid string, msg session.Message, req broker.Request) (Revoked, error) {
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	answer, seq, err := svc.recordEnd(ctx, event, uid, msg, req)
	if err != nil {
		return Revoked{}, err
	}
	return delivered(ctx, delivery, answer, seq), nil
}

// recordEnd is endUser without the delivery. seq is zero if there was nothing to write.
func (svc *Service) recordEnd(ctx context.Context, event, uid string, msg session.Message, req broker.Request) (answer Revoked, seq uint64, err error) {
	result, err := svc.changeUser(ctx, uid, msg, req.Operator)
	if err != nil {
		return Revoked{}, 0, err
	}
	eff := result.Effects
	answer = Revoked{Kind: string(revocation.KindSub), Value: uid, Epoch: result.Epoch, Changed: eff.EndTokens != ""}
	if !answer.Changed {
		answer.Epoch = eff.User.Epoch
	}
	svc.audit.Info(ctx, event, req, "uid", uid, "reason", string(eff.EndTokens), "changed", answer.Changed)
	return answer, result.Seq, nil
}

// changeUser sends the user's shard a change of the user. Errors: CodeUnknownUser.
func (svc *Service) changeUser(ctx context.Context, uid string, msg session.Message, by string) (commit.Result, error) {
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, Message: msg, By: by})
	if err == nil && result.Effects.Refusal != "" {
		err = errUnknownUser()
	}
	return result, err
}

// purgePage is the number of sessions of a removed user that are deleted at a time.
const purgePage = 100

// RemoveUser deletes the user and the links of all accounts, ends all sessions and revokes all
// tokens. A later login by one of the accounts creates a new user. Errors: CodeUnknownUser.
func (svc *Service) RemoveUser(ctx context.Context, ref string, req broker.Request) (Revoked, error) {
	user, err := svc.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, commit.AppError(ctx, "removing a user", err)
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	removed, seq, err := svc.recordEnd(ctx, "user_remove", user.UID, session.RemoveUser{}, req)
	if err != nil {
		return Revoked{}, err
	}
	if err := svc.purgeSessions(ctx, user.UID); err != nil { // they have ended, and their records expire
		svc.cfg.Logger.WarnContext(ctx, "the sessions of a removed user are still stored", "uid", user.UID, "error", err)
	}
	return delivered(ctx, delivery, removed, seq), nil
}

// purgeSessions deletes the records of a removed user's sessions. A record that is written
// concurrently stays, but its session has ended because it has no user.
func (svc *Service) purgeSessions(ctx context.Context, uid string) error {
	prefix, after := commit.SessionKey(uid, ""), ""
	for {
		page, err := svc.cfg.Store.List(ctx, prefix, after, purgePage)
		if err != nil {
			return fmt.Errorf("listing sessions: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		var changes []store.Change
		for _, rec := range page {
			after = rec.Key
			writes := []store.Write{{Key: rec.Key, Delete: true, Expect: rec.Revision}}
			owner, err := svc.cfg.Store.Get(ctx, commit.SIDKey(rec.Key[len(prefix):]))
			switch {
			case err == nil:
				writes = append(writes, store.Write{Key: owner.Key, Delete: true, Expect: owner.Revision})
			case !errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("reading the sid: %w", err)
			}
			changes = append(changes, store.Change{Writes: writes})
		}
		errs, _, err := svc.path.Commit(ctx, changes...)
		if err != nil {
			return err
		}
		for _, err := range errs {
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return fmt.Errorf("deleting sessions: %w", err)
			}
		}
	}
}
