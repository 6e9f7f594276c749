package broker

import (
	"context"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// Session returns who is signed in by a cookie's refresh token. It never rotates, writes
// nothing and never counts as reuse. A token that was superseded within the grace is answered
// like the current one, and nothing in the answer depends on the rotations since: who stole a
// token must not learn from it when the owner's browser refreshes.
//
// Errors: those of Refresh for a session that is not alive; CodeRefreshSuperseded for a token
// that the grace no longer covers, whose session goes on.
func (b *Broker) Session(ctx context.Context, refreshText string, req Request) (*SessionInfo, error) {
	token, err := parseRefreshToken(refreshText, b.cfg.Secrets)
	if err != nil {
		return nil, refused(session.RefuseUnknown)
	}
	view := newUserView(b.cfg.Store, token.uid.String())
	state, err := view.state(ctx, token.sid.String(), "")
	if err != nil {
		return nil, b.internal(ctx, "reading the session", err)
	}
	if s := state.Session; s != nil {
		state.Denylisted = b.cfg.Denylist.Revoked(revocationSubject(s))
	}
	switch refusal := session.Inspect(b.cfg.Clock.Now(), b.cfg.Policy, state, session.Rotate{
		Generation: token.generation, SecretHash: token.secretHash(), Channel: session.ChannelCookie,
	}); refusal {
	case "":
		b.auditDebug(ctx, "session_read", req, token.seen(req)...)
	case session.RefuseSuperseded:
		b.audit(ctx, "session_read_superseded", req, token.seen(req)...)
		return nil, refused(refusal)
	default:
		return nil, refused(refusal)
	}
	s := state.Session
	return &SessionInfo{
		UID: s.UID, SID: s.SID, CSRFToken: csrfToken(b.cfg.Secrets, s.SID),
		ExpiresAt: s.EndsAsOf(b.cfg.Policy, token.generation), CreatedAt: time.Unix(s.CreatedAt, 0), AuthTime: time.Unix(s.AuthTime, 0),
		ClientID: s.ClientID, Scope: s.Scope, User: b.userObject(state.User),
	}, nil
}

// revocationSubject is what of a session the denylist can hit.
func revocationSubject(s *session.Session) revocation.Subject {
	return revocation.Subject{SID: s.SID, Sub: s.UID, ClientID: s.ClientID, SEP: s.SEP, CEP: s.CEP}
}
