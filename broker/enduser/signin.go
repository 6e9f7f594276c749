package enduser

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/broker/throttle"
	"tokenbroker/store"
)

// The acr and amr (RFC 8176) of a password sign-in.
const (
	acrPassword = "urn:tokenbroker:acr:password"
	amrPassword = "pwd"
)

// SignIn opens a browser session for a local user's name and password. An unknown name,
// a wrong password and a disabled user have the same answer, after the same time:
// CodeInvalidCredentials. CodeTooManyAttempts has RetryAfter.
func (svc *Service) SignIn(ctx context.Context, username, plain string, req broker.Request) (*broker.Grant, error) {
	if err := svc.checkKeys(ctx); err != nil {
		return nil, err
	}
	linked, err := svc.tryPassword(ctx, username, plain, req)
	if err != nil {
		return nil, err
	}
	return svc.openSession(ctx, linked.User.UID, session.Open{
		ACR: acrPassword, AMR: []string{amrPassword}, UpstreamIssuer: broker.LocalIssuer, UpstreamSubject: linked.Account.Subject,
		ByPassword: true, PasswordSerial: linked.User.PasswordSerial,
	}, nil, svc.priorSession(req), req)
}

// noName is the throttle's account for an empty user name, which the throttle itself would not count as
// an account: all tries without a name are one account that does not exist. No user can have this name.
const noName = "\x00"

// tryPassword calls checkPassword if the throttle allows it. Its errors are application errors. All forms
// of a name are one account to the throttle.
func (svc *Service) tryPassword(ctx context.Context, username, plain string, req broker.Request) (linked directory.Link, err error) {
	account := cmp.Or(directory.CanonicalName(username), noName)
	if wait, ok := svc.cfg.Throttle.Allow(account, req.Addr); !ok {
		svc.audit.Info(ctx, "sign_in_throttled", req, "refusal", string(broker.CodeTooManyAttempts))
		return linked, &broker.Error{Code: broker.CodeTooManyAttempts, Message: "Too many attempts; try again later.", RetryAfter: wait}
	}
	outcome := throttle.Undecided // also when the check panics
	defer func() { svc.cfg.Throttle.Done(account, req.Addr, outcome) }()
	caller := password.Caller{Addr: req.Addr}
	if svc.cfg.Throttle.Known(req.Addr) {
		caller.Priority = password.High
	}
	linked, err = svc.checkPassword(ctx, caller, username, plain)
	if err != nil {
		if errors.Is(err, password.ErrBusy) || errors.Is(err, context.Canceled) {
			outcome = throttle.Abandoned // otherwise filling the queue would cost a client nothing
		}
		return linked, commit.AppError(ctx, "checking the password", err)
	}
	if linked.User == nil {
		outcome = throttle.Failed
		svc.audit.Info(ctx, "sign_in_failed", req, "refusal", string(broker.CodeInvalidCredentials))
		return linked, &broker.Error{Code: broker.CodeInvalidCredentials, Message: "Unknown user or wrong password."}
	}
	outcome = throttle.Succeeded
	return linked, nil
}

// checkPassword returns the local account of that name. Its user is nil unless the password is the user's.
func (svc *Service) checkPassword(ctx context.Context, caller password.Caller, username, plain string) (directory.Link, error) {
	linked, err := directory.LocalAccount(ctx, svc.cfg.Store, username)
	if err != nil {
		return directory.Link{}, err
	}
	user := linked.User
	if user == nil || user.PasswordHash == "" || user.Disabled { // a successful check may be shorter
		return directory.Link{}, svc.cfg.Passwords.VerifyUnknown(ctx, caller, plain)
	}
	ok, needsRehash, err := svc.cfg.Passwords.Verify(ctx, caller, plain, user.PasswordHash)
	if err != nil || !ok {
		return directory.Link{}, err
	}
	if needsRehash {
		if err := svc.rehash(ctx, user, plain); err != nil {
			svc.cfg.Logger.WarnContext(ctx, "a password keeps its old hash", "uid", user.UID, "error", err)
		}
	}
	return linked, nil
}

// rehash stores the password's hash under the current parameters, unless the password was changed in the meantime.
func (svc *Service) rehash(ctx context.Context, user *session.User, plain string) error {
	hash, err := svc.cfg.Passwords.Hash(ctx, plain)
	if err != nil {
		return fmt.Errorf("hashing the password: %w", err)
	}
	return svc.path.Update(ctx, func() (*store.Change, error) {
		rec, err := svc.cfg.Store.Get(ctx, directory.UserKey(user.UID))
		if err != nil {
			return nil, fmt.Errorf("reading the user: %w", err)
		}
		now, err := session.DecodeUser(rec.Value)
		if err != nil || now.PasswordHash != user.PasswordHash {
			return nil, err
		}
		now.PasswordHash = hash
		write, err := directory.PutUser(now, rec.Revision)
		return &store.Change{Writes: []store.Write{write}}, err
	})
}
