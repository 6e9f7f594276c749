package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// The acr and amr (RFC 8176) of a password sign-in.
const (
	acrPassword = "urn:tokenbroker:acr:password"
	amrPassword = "pwd"
)

// SignIn opens a browser session for a local user's name and password. An unknown name,
// a wrong password and a disabled user are one answer, after the same time:
// CodeInvalidCredentials. CodeTooManyAttempts carries RetryAfter.
func (b *Broker) SignIn(ctx context.Context, username, plain string, req Request) (*Grant, error) {
	linked, err := b.tryPassword(ctx, username, plain, req)
	if err != nil {
		return nil, err
	}
	return b.openSession(ctx, linked.user.UID, session.Open{
		ACR: acrPassword, AMR: []string{amrPassword}, UpstreamIssuer: LocalIssuer, UpstreamSubject: linked.account.Subject,
		ByPassword: true, PasswordSerial: linked.user.PasswordSerial,
	}, nil, b.replaced(req), req)
}

// noName is what the throttle has for an empty user name, which to it is no account: all
// tries without a name are one account that does not exist. No user's name is so.
const noName = "\x00"

// tryPassword is checkPassword as often as the throttle allows; its errors are answers. All forms
// of a name are one account to the throttle.
func (b *Broker) tryPassword(ctx context.Context, username, plain string, req Request) (linked accountLink, err error) {
	account := cmp.Or(canonicalName(username), noName)
	if wait, ok := b.cfg.Throttle.Allow(account, req.Addr); !ok {
		b.audit(ctx, "sign_in_throttled", req, "refusal", string(CodeTooManyAttempts))
		return linked, &Error{Code: CodeTooManyAttempts, Message: "Too many attempts; try again later.", RetryAfter: wait}
	}
	ended := b.cfg.Throttle.Refund // also when the check panics
	defer func() { ended(account, req.Addr) }()
	caller := password.Caller{Addr: req.Addr}
	if b.cfg.Throttle.Known(req.Addr) {
		caller.Priority = password.High
	}
	linked, err = b.checkPassword(ctx, caller, username, plain)
	if err != nil {
		if errors.Is(err, password.ErrBusy) || errors.Is(err, context.Canceled) {
			ended = b.cfg.Throttle.Abandoned // else a flood that fills the queue costs nothing
		}
		return linked, b.internal(ctx, "checking the password", err)
	}
	if linked.user == nil {
		ended = b.cfg.Throttle.Failed
		b.audit(ctx, "sign_in_failed", req, "refusal", string(CodeInvalidCredentials))
		return linked, &Error{Code: CodeInvalidCredentials, Message: "Unknown user or wrong password."}
	}
	ended = b.cfg.Throttle.Succeeded
	return linked, nil
}

// checkPassword returns the local account of that name; its user is nil unless the password is theirs.
func (b *Broker) checkPassword(ctx context.Context, caller password.Caller, username, plain string) (accountLink, error) {
	linked, err := b.localAccount(ctx, username)
	if err != nil {
		return accountLink{}, err
	}
	user := linked.user
	if user == nil || user.PasswordHash == "" || user.Disabled { // a check that succeeds may be shorter
		return accountLink{}, b.cfg.Passwords.VerifyUnknown(ctx, caller, plain)
	}
	ok, needsRehash, err := b.cfg.Passwords.Verify(ctx, caller, plain, user.PasswordHash)
	if err != nil || !ok {
		return accountLink{}, err
	}
	if needsRehash {
		if err := b.rehash(ctx, user, plain); err != nil {
			b.cfg.Logger.WarnContext(ctx, "a password keeps its old hash", "uid", user.UID, "error", err)
		}
	}
	return linked, nil
}

// rehash stores the password's hash under today's parameters, unless it was changed meanwhile.
func (b *Broker) rehash(ctx context.Context, user *session.User, plain string) error {
	hash, err := b.cfg.Passwords.Hash(ctx, plain)
	if err != nil {
		return fmt.Errorf("hashing the password: %w", err)
	}
	return b.retryConflicts(ctx, func() (*store.Change, error) {
		rec, err := b.cfg.Store.Get(ctx, userKey(user.UID))
		if err != nil {
			return nil, fmt.Errorf("reading the user: %w", err)
		}
		now, err := session.DecodeUser(rec.Value)
		if err != nil || now.PasswordHash != user.PasswordHash {
			return nil, err
		}
		now.PasswordHash = hash
		value, err := now.Encode()
		if err != nil {
			return nil, fmt.Errorf("encoding the user: %w", err)
		}
		return &store.Change{Writes: []store.Write{{Key: userKey(user.UID), Value: value, Expect: rec.Revision}}}, nil
	})
}

const tokenUsed = "This token was exchanged before."

// openSession makes a browser session for a user who has proved who they are, by open's
// acr, amr and profile. It uses up once: things that are good for one session.
// It then ends the browser's old session, where there is one.
func (b *Broker) openSession(ctx context.Context, uid string, open session.Open, once []onceKey, old *replacedSession, req Request) (*Grant, error) {
	owner, ok := parseID(uid)
	if !ok {
		return nil, &Error{Code: CodeInternal, Message: "Something went wrong inside.", Err: session.ErrRecord}
	}
	if wait := b.openings.wait(uid, b.cfg.Clock.Now()); wait > 0 {
		b.audit(ctx, "sign_in_throttled", req, "uid", uid, "refusal", string(CodeTooManySessions))
		return nil, &Error{Code: CodeTooManySessions, Message: "This user has opened too many sessions; try again later.", RetryAfter: wait}
	}
	token := newRefreshToken(owner, newID())
	sid := token.sid.String()
	open.SID, open.SecretHash, open.Channel = sid, token.secretHash(), session.ChannelCookie
	open.ClientID, open.Scope, open.Device, open.Source = b.cfg.BrowserClient, b.cfg.BrowserScope, req.UserAgent, token.source(req)
	result, err := b.ask(ctx, shardMessage{uid: uid, sid: sid, clientID: open.ClientID, once: once, message: open})
	if err != nil {
		return nil, err
	}
	var account []any // of a federated login
	if open.Provider != "" {
		account = []any{"provider", open.Provider, "issuer", open.UpstreamIssuer, "subject", open.UpstreamSubject}
	}
	if refusal := result.effects.Refusal; refusal != "" {
		b.audit(ctx, "sign_in_failed", req, append([]any{"uid", uid, "refusal", string(refusal)}, account...)...)
		switch {
		case refusal == session.RefuseUsed:
			return nil, &Error{Code: CodeTokenUsed, Message: tokenUsed}
		case refusal == session.RefuseUserDisabled && open.Provider != "": // who they are is proved
			return nil, &Error{Code: CodeUserDisabled, Message: "This user is disabled."}
		}
		return nil, &Error{Code: CodeInvalidCredentials, Message: "Unknown user or wrong password."}
	}
	b.audit(ctx, "sign_in", req, append([]any{"uid", uid, "sid", sid, "client", open.ClientID, "acr", open.ACR}, account...)...)
	b.openings.opened(uid, b.cfg.Clock.Now())
	for _, ended := range result.effects.Ended {
		b.audit(ctx, "session_displaced", req, "uid", uid, "sid", ended.SID, "by", sid)
	}
	b.endReplaced(ctx, old, sid, req)
	return b.grant(ctx, result.effects, token, csrfToken(b.cfg.Secrets, result.effects.Session.SID))
}
