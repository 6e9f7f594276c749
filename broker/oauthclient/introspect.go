package oauthclient

import (
	"context"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
)

// IntrospectRefreshToken returns what a refresh token of the client is (RFC 7662 §2.2). active is false for one of another client,
// one that is neither current nor within its grace, and one whose grant has ended. Nothing is rotated, and nothing counts as reuse.
func (svc *Service) IntrospectRefreshToken(ctx context.Context, clientID, token string) (info broker.RefreshTokenInfo, active bool, err error) {
	if err := svc.cfg.Secrets.Outdated(); err != nil {
		return info, false, commit.AppError(ctx, "checking the keys", err)
	}
	t, err := credential.ParseRefreshToken(token, svc.cfg.Secrets)
	if err != nil || clientID == "" {
		return info, false, nil
	}
	st, err := svc.path.View(t.UID.String()).State(ctx, t.SID.String(), clientID)
	if err != nil {
		return info, false, commit.AppError(ctx, "reading the grant", err)
	}
	refusal := session.Inspect(svc.cfg.Clock.Now(), svc.cfg.Policy, st, session.Rotate{
		Generation: t.Generation, SecretHash: t.SecretHash(), Channel: session.ChannelOAuth, ClientID: clientID,
	})
	s := st.Session
	if refusal != "" || t.Generation > s.Generation {
		return info, false, nil
	}
	return broker.RefreshTokenInfo{
		Subject: s.UID, ClientID: s.ClientID, Scope: s.Scope, SID: s.SID,
		IssuedAt: time.Unix(s.CreatedAt, 0), ExpiresAt: s.EndsAsOf(svc.cfg.Policy, t.Generation),
	}, true, nil
}
