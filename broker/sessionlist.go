package broker

import (
	"context"
	"strings"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// stateLive is the State of a session whose refresh token would be taken.
const stateLive = "live"

// ListSessions returns a page of the sessions that q selects, each judged by the user, the
// client and the floor as they are now; one whose user or client cannot be read is
// unreadable. A page may have fewer than Limit, or none, and yet a
// Next: so many records were read for it. Errors: CodeUnknownUser.
func (b *Broker) ListSessions(ctx context.Context, q SessionQuery) (SessionPage, error) {
	prefix := sessionPrefix
	if q.User != "" {
		user, err := b.userByRef(ctx, q.User)
		if err != nil {
			return SessionPage{}, b.internal(ctx, "listing sessions", err)
		}
		prefix = sessionKey(user.UID, "")
	}
	if _, _, err := readFloor(ctx, b.cfg.Store); err != nil { // it is no single session's damage
		return SessionPage{}, b.internal(ctx, "listing sessions", err)
	}
	page := SessionPage{Sessions: []SessionSummary{}}
	view := newUserView(b.cfg.Store, "")
	next, unreadable, err := b.scan(ctx, prefix, afterKey(sessionPrefix, q.After), q.Limit, func(rec store.Record) (bool, error) {
		s, err := session.DecodeSession(rec.Value)
		if err != nil {
			return false, err
		}
		if view.uid != s.UID { // keys are in the order of the users
			view = newUserView(b.cfg.Store, s.UID)
		}
		summary, err := b.summary(ctx, view, s)
		if err != nil || summary.State != stateLive && !q.Ended {
			return false, err
		}
		page.Sessions = append(page.Sessions, summary)
		return true, nil
	})
	if err != nil {
		return SessionPage{}, b.internal(ctx, "listing sessions", err)
	}
	page.Next, page.Unreadable = strings.TrimPrefix(next, sessionPrefix), unreadable
	return page, nil
}

// summary is what operators see of a session.
func (b *Broker) summary(ctx context.Context, view *userView, s *session.Session) (SessionSummary, error) {
	state, err := view.judged(ctx, s)
	if err != nil {
		return SessionSummary{}, err
	}
	state.Denylisted = b.cfg.Denylist.Revoked(revocationSubject(s))
	summary := SessionSummary{
		SID: s.SID, UID: s.UID, ClientID: s.ClientID, Scope: s.Scope, Provider: s.Provider, Device: s.Device,
		Channel: string(s.Channel), CreatedAt: time.Unix(s.CreatedAt, 0).UTC(), LastUsed: time.Unix(s.LastUsed, 0).UTC(),
		AuthTime: time.Unix(s.AuthTime, 0).UTC(), ExpiresAt: s.EndsAt(b.cfg.Policy).UTC(),
		TokenExpires: time.Unix(s.TokenExp, 0).UTC(), State: stateLive,
	}
	if state.User != nil {
		summary.Username = state.User.Username
	}
	if refusal := session.Judge(b.cfg.Clock.Now(), b.cfg.Policy, state); refusal != "" {
		summary.State = string(refused(refusal).Code)
	}
	return summary, nil
}
