package broker

import (
	"context"

	"tokenbroker/broker/session"
)

// The acr and amr (RFC 8176) of a password sign-in.
const (
	acrPassword = "urn:tokenbroker:acr:password"
	amrPassword = "pwd"
)

// SignIn opens a browser session for a local user's name and password. An unknown name,
// a wrong password and a disabled user are one answer, after the same time:
// CodeInvalidCredentials. CodeTooManyAttempts carries RetryAfter.
func (b *Broker) SignIn(ctx context.Context, username, password string, req Request) (*Grant, error) {
	if wait, ok := b.cfg.Throttle.Allow(username, req.Addr); !ok {
		b.audit(ctx, "sign_in_throttled", req)
		return nil, &Error{Code: CodeTooManyAttempts, Message: "Too many attempts; try again later.", RetryAfter: wait}
	}
	user, err := b.checkPassword(ctx, username, password)
	if err != nil {
		return nil, b.internal(ctx, "checking the password", err)
	}
	if user == nil {
		b.cfg.Throttle.Failed(username, req.Addr)
		b.audit(ctx, "sign_in_failed", req)
		return nil, &Error{Code: CodeInvalidCredentials, Message: "Unknown user or wrong password."}
	}
	b.cfg.Throttle.Succeeded(username, req.Addr)
	return b.openSession(ctx, user.UID, acrPassword, []string{amrPassword}, req)
}

// checkPassword returns the user whose password it is, or nil.
func (b *Broker) checkPassword(ctx context.Context, username, password string) (*session.User, error) {
	uid, err := b.linkedUser(ctx, LocalIssuer, username)
	if err != nil {
		return nil, err
	}
	var user *session.User
	if uid != "" {
		if user, err = b.user(ctx, uid); err != nil {
			return nil, err
		}
	}
	if user == nil || user.PasswordHash == "" {
		return nil, b.cfg.Passwords.VerifyUnknown(ctx, password)
	}
	ok, _, err := b.cfg.Passwords.Verify(ctx, password, user.PasswordHash)
	if err != nil || !ok || user.Disabled {
		return nil, err
	}
	return user, nil
}

// openSession makes a browser session for a user who has proved who they are.
func (b *Broker) openSession(ctx context.Context, uid, acr string, amr []string, req Request) (*Grant, error) {
	owner, ok := parseID(uid)
	if !ok {
		return nil, &Error{Code: CodeInternal, Message: "Something went wrong inside.", Err: session.ErrRecord}
	}
	token := newRefreshToken(owner, newID())
	sid := token.sid.String()
	result, err := b.ask(ctx, shardMessage{uid: uid, sid: sid, clientID: b.cfg.BrowserClient, message: session.Open{
		SID: sid, SecretHash: token.secretHash(), Channel: session.ChannelCookie,
		ClientID: b.cfg.BrowserClient, Scope: b.cfg.BrowserScope, ACR: acr, AMR: amr, Device: req.UserAgent,
	}})
	if err != nil {
		return nil, err
	}
	if refusal := result.effects.Refusal; refusal != "" {
		b.audit(ctx, "sign_in_failed", req, "uid", uid, "refusal", string(refusal))
		return nil, &Error{Code: CodeInvalidCredentials, Message: "Unknown user or wrong password."}
	}
	b.audit(ctx, "sign_in", req, "uid", uid, "sid", sid)
	return b.grant(ctx, result.effects, token)
}
