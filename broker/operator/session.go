package operator

import (
	"context"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// SessionSummary describes a session to operators.
type SessionSummary struct {
	SID          string    `json:"sid"`
	UID          string    `json:"uid"`
	Username     string    `json:"username,omitempty"` // empty if the user was removed
	ClientID     string    `json:"client_id"`
	Scope        string    `json:"scope,omitempty"`
	Provider     string    `json:"provider,omitempty"`
	Device       string    `json:"device,omitempty"`
	Channel      string    `json:"channel"`
	CreatedAt    time.Time `json:"created_at"`
	LastUsed     time.Time `json:"last_used"`
	AuthTime     time.Time `json:"auth_time"`
	ExpiresAt    time.Time `json:"expires_at"`
	TokenExpires time.Time `json:"token_expires"`
	// State is "live", or the code with which a refresh would be refused: session_expired,
	// session_ended, session_revoked, user_disabled, refresh_token_reused, generation_ahead.
	State string `json:"state"`
}

// stateLive is the State of a session whose refresh token would be accepted.
const stateLive = "live"

// summary describes a session to operators.
func (svc *Service) summary(ctx context.Context, view *commit.UserView, s *session.Session) (SessionSummary, error) {
	state, err := view.StateOf(ctx, s)
	if err != nil {
		return SessionSummary{}, err
	}
	summary := SessionSummary{
		SID: s.SID, UID: s.UID, ClientID: s.ClientID, Scope: s.Scope, Provider: s.Provider, Device: s.Device,
		Channel: string(s.Channel), CreatedAt: time.Unix(s.CreatedAt, 0).UTC(), LastUsed: time.Unix(s.LastUsed, 0).UTC(),
		AuthTime: time.Unix(s.AuthTime, 0).UTC(), ExpiresAt: s.EndsAt(svc.cfg.Policy).UTC(),
		TokenExpires: time.Unix(s.TokenExp, 0).UTC(), State: stateLive,
	}
	if state.User != nil {
		summary.Username = state.User.Username
	}
	if refusal := session.Judge(svc.cfg.Clock.Now(), svc.cfg.Policy, state); refusal != "" {
		summary.State = string(commit.Refused(refusal).Code)
	}
	return summary, nil
}

// RevokeSession ends one session, of any channel, and revokes its tokens. If the session was ended
// before, Changed is false. Errors: CodeUnknownSession, CodeInvalidRevocation.
func (svc *Service) RevokeSession(ctx context.Context, sid, reason string, req broker.Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	changed, seq, err := svc.endSession(ctx, sid, why, req)
	if err != nil {
		return Revoked{}, err
	}
	return delivered(ctx, delivery, Revoked{Kind: string(revocation.KindSID), Value: sid, Changed: changed}, seq), nil
}

// endSession is RevokeSession without the delivery. seq is zero if there was nothing to write.
func (svc *Service) endSession(ctx context.Context, sid string, reason revocation.Reason, req broker.Request) (changed bool, seq uint64, err error) {
	uid, err := commit.SessionOwner(ctx, svc.cfg.Store, sid)
	if err != nil {
		return false, 0, commit.AppError(ctx, "revoking a session", err)
	}
	if uid == "" {
		return false, 0, errUnknownSession()
	}
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, SID: sid, Message: session.Revoke{Reason: reason}, By: req.Operator})
	if err != nil {
		return false, 0, err
	}
	if result.Effects.Refusal != "" {
		return false, 0, errUnknownSession()
	}
	changed = result.Effects.PutSession != nil
	svc.audit.Info(ctx, "session_revoke", req, "uid", uid, "sid", sid, "reason", string(reason), "changed", changed)
	result.AuditGrants(ctx, svc.audit, req)
	return changed, result.Seq, nil
}

func errUnknownSession() *broker.Error {
	return &broker.Error{Code: broker.CodeUnknownSession, Message: "No session with this sid is on record; list the sessions to find it."}
}
