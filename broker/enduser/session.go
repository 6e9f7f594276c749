package enduser

import (
	"context"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/replays"
	"tokenbroker/broker/session"
)

// Session returns the session of a cookie's refresh token and its user. It never rotates, writes
// nothing and never counts as reuse. A token that was superseded within the grace period is answered
// like the current one, and the answer does not depend on the rotations since: a thief of a
// token must not learn from it when the owner's browser refreshes.
//
// Errors: those of Refresh for a session that has ended; CodeRefreshSuperseded for a token
// whose grace period is over and whose session continues.
func (svc *Service) Session(ctx context.Context, refreshText string, req broker.Request) (*broker.SessionInfo, error) {
	if err := svc.checkKeys(ctx); err != nil {
		return nil, err
	}
	token, err := credential.ParseRefreshToken(refreshText, svc.cfg.Secrets)
	if err != nil {
		return nil, commit.Refused(session.RefuseUnknown)
	}
	state, err := svc.path.View(token.UID.String()).State(ctx, token.SID.String(), svc.cfg.BrowserClient)
	if err != nil {
		return nil, commit.AppError(ctx, "reading the session", err)
	}
	switch refusal := session.Inspect(svc.cfg.Clock.Now(), svc.cfg.Policy, state, session.Rotate{
		Generation: token.Generation, SecretHash: token.SecretHash(), Channel: session.ChannelCookie,
	}); refusal {
	case "":
		svc.audit.Debug(ctx, "session_read", req, replays.Seen(token, req)...)
	case session.RefuseSuperseded:
		svc.audit.Info(ctx, "session_read_superseded", req, replays.Seen(token, req)...)
		return nil, commit.Refused(refusal)
	default:
		return nil, commit.Refused(refusal)
	}
	s := state.Session
	return &broker.SessionInfo{
		UID: s.UID, SID: s.SID, CSRFToken: credential.CSRFToken(svc.cfg.Secrets, s.SID),
		ExpiresAt: s.EndsAsOf(svc.cfg.Policy, token.Generation), CreatedAt: time.Unix(s.CreatedAt, 0), AuthTime: time.Unix(s.AuthTime, 0),
		ClientID: s.ClientID, Scope: s.Scope, User: svc.userObject(state.User),
	}, nil
}
