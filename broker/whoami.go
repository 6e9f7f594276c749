package broker

import (
	"context"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// Session tells who is signed in by a cookie's refresh token. It never rotates, writes
// nothing and never counts as reuse: the session's token of any generation is answered.
// Errors: those of Refresh for a session that is not alive.
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
	if refusal := session.Inspect(b.cfg.Clock.Now(), b.cfg.Policy, state, token.secretHash(), session.ChannelCookie); refusal != "" {
		return nil, refused(refusal)
	}
	s := state.Session
	return &SessionInfo{
		UID: s.UID, SID: s.SID, CSRFToken: csrfToken(b.cfg.Secrets, s.SID),
		ExpiresAt: s.EndsAt(b.cfg.Policy), CreatedAt: time.Unix(s.CreatedAt, 0), AuthTime: time.Unix(s.AuthTime, 0),
		ClientID: s.ClientID, Scope: s.Scope, User: b.userObject(state.User),
	}, nil
}

// revocationSubject is what of a session the denylist can hit.
func revocationSubject(s *session.Session) revocation.Subject {
	return revocation.Subject{SID: s.SID, Sub: s.UID, ClientID: s.ClientID, SEP: s.SEP, CEP: s.CEP}
}
