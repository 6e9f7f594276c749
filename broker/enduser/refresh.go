package enduser

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
)

// Refresh rotates the session of a cookie's refresh token. The token's MAC is checked
// first, then csrf, and only then is the store read. The answer is durable.
//
// Errors: CodeNoSession (missing, damaged, forged, wrong secret or unknown), CodeCSRF,
// CodeWrongChannel, CodeSessionExpired, CodeSessionEnded, CodeSessionRevoked,
// CodeUserDisabled, CodeRefreshReused, CodeGenerationAhead and CodeTooManyReplays, which ends nothing.
func (svc *Service) Refresh(ctx context.Context, refreshText, csrf string, req broker.Request) (*broker.Grant, error) {
	if err := svc.checkKeys(ctx); err != nil {
		return nil, err
	}
	token, err := credential.ParseRefreshToken(refreshText, svc.cfg.Secrets)
	if err != nil {
		return nil, commit.Refused(session.RefuseUnknown)
	}
	uid, sid := token.UID.String(), token.SID.String()
	current, ok := credential.MatchCSRF(svc.cfg.Secrets, sid, csrf)
	if !ok {
		svc.audit.Info(ctx, "csrf_mismatch", req, "uid", uid, "sid", sid)
		return nil, errCSRF()
	}
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, SID: sid, ClientID: svc.cfg.BrowserClient, Message: session.Rotate{
		Generation: token.Generation, SecretHash: token.SecretHash(), Channel: session.ChannelCookie, Source: token.Source(req),
	}})
	if err != nil {
		return nil, err
	}
	eff := result.Effects
	if eff.Refusal != "" {
		svc.audit.Info(ctx, "refresh_refused", req, seen(token, req, "refusal", string(eff.Refusal))...)
		return nil, commit.Refused(eff.Refusal)
	}
	if err := svc.traceRefresh(ctx, eff, token, req); err != nil {
		return nil, err
	}
	return svc.grant(ctx, eff, token, current)
}

// traceRefresh logs an answered refresh. The error is CodeTooManyReplays.
func (svc *Service) traceRefresh(ctx context.Context, eff session.Effects, token credential.RefreshToken, req broker.Request) error {
	switch {
	case eff.Replayed && !svc.replays.allow(token):
		err := errTooManyReplays()
		svc.audit.Info(ctx, "refresh_refused", req, seen(token, req, "refusal", string(err.Code))...)
		return err
	case eff.Replayed:
		svc.audit.Info(ctx, "refresh_replayed", req, seen(token, req)...)
		if eff.AddressChanged {
			if n := svc.replays.elsewhere(token); n >= suspiciousReplays {
				svc.audit.Warn(ctx, "refresh_replayed_elsewhere", req, seen(token, req, "in_a_row", n)...)
			}
		}
	case eff.AddressChanged:
		svc.audit.Info(ctx, "session_address_changed", req, seen(token, req)...)
	case svc.audit.Logger.Enabled(ctx, slog.LevelDebug): // most refreshes are not logged, and build no attributes
		svc.audit.Debug(ctx, "refresh", req, seen(token, req)...)
	}
	return nil
}

func errCSRF() *broker.Error {
	return &broker.Error{Code: broker.CodeCSRF, Message: "The CSRF token is missing or belongs to another session; get the current one from GET /auth/session/."}
}

// seen returns the attributes of an audit line for a request that presents the token, followed by more.
func seen(t credential.RefreshToken, req broker.Request, more ...any) []any {
	return append([]any{"uid", t.UID.String(), "sid", t.SID.String(), "generation", t.Generation, "user_agent", req.UserAgent}, more...)
}

// grant returns the answer to a committed step. With an error, it has no access token
// but is otherwise valid: the step is on disk, so its refresh token has to reach the
// browser, or the next refresh would look like a reuse.
func (svc *Service) grant(ctx context.Context, eff session.Effects, token credential.RefreshToken, csrf string) (*broker.Grant, error) {
	now := svc.cfg.Clock.Now()
	token.Generation = eff.Session.Generation
	g := &broker.Grant{
		RefreshToken:  token.Encode(svc.cfg.Secrets),
		RefreshMaxAge: eff.Session.EndsAt(svc.cfg.Policy).Sub(now),
		CSRFToken:     csrf,
		User:          svc.userObject(eff.User), UID: eff.Session.UID, SID: eff.Session.SID, Replayed: eff.Replayed,
	}
	access, err := svc.accessToken(ctx, eff)
	if err != nil {
		return g, err
	}
	g.AccessToken, g.ExpiresAt = access, time.Unix(eff.ExpiresAt, 0)
	g.ExpiresIn = g.ExpiresAt.Sub(now)
	return g, nil
}

// accessToken computes the claims of the access token of a committed step and signs it.
func (svc *Service) accessToken(ctx context.Context, eff session.Effects) (string, error) {
	custom, err := svc.customClaims(ctx, eff)
	if err != nil {
		return "", err
	}
	claims, err := credential.EncodeClaims(svc.cfg.Issuer, svc.cfg.Audience, eff, custom)
	if err != nil {
		return "", claimsFailed("encoding claims", err)
	}
	if err := svc.signing.Acquire(ctx, 1); err != nil {
		return "", commit.AppError(ctx, "waiting to sign", err)
	}
	access, err := svc.cfg.Signer.SignAccessToken(ctx, claims)
	svc.signing.Release(1)
	if err != nil {
		return "", commit.AppError(ctx, "signing", err)
	}
	return access, nil
}

// customClaims computes the configured claims of the access token of a committed step. They are
// computed for each token. After CodeClaimsFailed, the step stays committed and its refresh
// token is returned, so that a refresh succeeds once the cause is removed.
func (svc *Service) customClaims(ctx context.Context, eff session.Effects) (map[string]any, error) {
	if svc.cfg.CustomClaims == nil {
		return nil, nil
	}
	s := eff.Session
	in := credential.ClaimsInput{
		User:     claimsUser(eff.User),
		Identity: credential.ClaimsIdentity{Provider: s.Provider, Issuer: s.UpstreamIssuer, Subject: s.UpstreamSubject},
		Client:   credential.ClaimsClient{ID: s.ClientID},
		Session: credential.ClaimsSession{
			ID: s.SID, Scope: s.Scope, ACR: s.ACR, Device: s.Device, AMR: s.AMR,
			AuthTime: unixTime(s.AuthTime), CreatedAt: unixTime(s.CreatedAt),
		},
	}
	claims, err := svc.cfg.CustomClaims.Claims(ctx, in)
	switch {
	case err == nil:
		return claims, nil
	case ctx.Err() != nil:
		return nil, commit.AppError(ctx, "computing claims", err)
	default:
		return nil, claimsFailed("computing claims", err)
	}
}

func claimsFailed(doing string, err error) *broker.Error {
	return &broker.Error{
		Code: broker.CodeClaimsFailed, Message: "The custom claims of the access token cannot be computed; the broker's log has the cause under this request id.",
		Err: fmt.Errorf("%s: %w", doing, err),
	}
}

// userObject returns the user object of the answers.
func (svc *Service) userObject(u *session.User) map[string]any {
	if u == nil {
		return nil
	}
	if svc.cfg.CustomClaims != nil {
		return svc.cfg.CustomClaims.UserObject(claimsUser(u))
	}
	object := map[string]any{"id": u.UID, "username": u.Username}
	if len(u.Roles) > 0 {
		object["roles"] = u.Roles
	}
	if len(u.Groups) > 0 {
		object["groups"] = u.Groups
	}
	return object
}

func claimsUser(u *session.User) credential.ClaimsUser {
	if u == nil {
		return credential.ClaimsUser{}
	}
	return credential.ClaimsUser{
		ID: u.UID, Username: u.Username, Local: directory.HasLocalName(u), Attributes: u.Attributes, Roles: u.Roles, Groups: u.Groups,
		CreatedAt: unixTime(u.CreatedAt), LastLogin: unixTime(u.LastLogin),
	}
}

// unixTime converts a record's time. 0 is the zero time.
func unixTime(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
