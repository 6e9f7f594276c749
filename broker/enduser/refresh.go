package enduser

import (
	"context"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/issuing"
	"tokenbroker/broker/replays"
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
		svc.audit.Info(ctx, "refresh_refused", req, replays.Seen(token, req, "refusal", string(eff.Refusal))...)
		result.AuditGrants(ctx, svc.audit, req)
		return nil, commit.Refused(eff.Refusal)
	}
	if err := svc.replays.Answered(ctx, svc.audit, eff, token, req); err != nil {
		return nil, err
	}
	return svc.grant(ctx, eff, token, current)
}

func errCSRF() *broker.Error {
	return &broker.Error{Code: broker.CodeCSRF, Message: "The CSRF token is missing or belongs to another session; get the current one from GET /auth/session/."}
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
	custom, err := svc.issuer.CustomClaims(ctx, eff.Session, eff.User)
	if err != nil {
		return "", err
	}
	return svc.issuer.AccessToken(ctx, credential.SessionToken(svc.cfg.Issuer, svc.cfg.Audience, eff), custom)
}

// userObject returns the user object of the answers.
func (svc *Service) userObject(u *session.User) map[string]any {
	if u == nil {
		return nil
	}
	if svc.cfg.CustomClaims != nil {
		return svc.cfg.CustomClaims.UserObject(issuing.ClaimsUser(u))
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
