package broker

import (
	"context"
	"log/slog"

	"tokenbroker/broker/session"
)

// Refresh rotates the session of a cookie's refresh token. The token's mac is checked
// first, then csrf, and only then is anything read; the answer is durable.
//
// Errors: CodeNoSession (missing, damaged, forged, wrong secret or unknown), CodeCSRF,
// CodeWrongChannel, CodeSessionExpired, CodeSessionEnded, CodeSessionRevoked,
// CodeUserDisabled, CodeRefreshReused, CodeGenerationAhead; CodeTooManyReplays ends nothing.
func (b *Broker) Refresh(ctx context.Context, refreshText, csrf string, req Request) (*Grant, error) {
	token, err := parseRefreshToken(refreshText, b.cfg.Secrets)
	if err != nil {
		return nil, refused(session.RefuseUnknown)
	}
	uid, sid := token.uid.String(), token.sid.String()
	current, ok := csrfMatches(b.cfg.Secrets, sid, csrf)
	if !ok {
		b.audit(ctx, "csrf_mismatch", req, "uid", uid, "sid", sid)
		return nil, errCSRF()
	}
	result, err := b.ask(ctx, shardMessage{uid: uid, sid: sid, message: session.Rotate{
		Generation: token.generation, SecretHash: token.secretHash(), Channel: session.ChannelCookie, Source: token.source(req),
	}})
	if err != nil {
		return nil, err
	}
	eff := result.effects
	if eff.Refusal != "" {
		b.audit(ctx, "refresh_refused", req, token.seen(req, "refusal", string(eff.Refusal))...)
		return nil, refused(eff.Refusal)
	}
	if err := b.traceRefresh(ctx, eff, token, req); err != nil {
		return nil, err
	}
	return b.grant(ctx, eff, token, current)
}

// traceRefresh logs an answered refresh. The error is CodeTooManyReplays.
func (b *Broker) traceRefresh(ctx context.Context, eff session.Effects, token refreshToken, req Request) error {
	switch {
	case eff.Replayed && !b.replays.allow(token):
		err := errTooManyReplays()
		b.audit(ctx, "refresh_refused", req, token.seen(req, "refusal", string(err.Code))...)
		return err
	case eff.Replayed:
		b.audit(ctx, "refresh_replayed", req, token.seen(req)...)
		if eff.AddressChanged {
			if n := b.replays.elsewhere(token); n >= suspiciousReplays {
				b.auditWarn(ctx, "refresh_replayed_elsewhere", req, token.seen(req, "in_a_row", n)...)
			}
		}
	case eff.AddressChanged:
		b.audit(ctx, "session_address_changed", req, token.seen(req)...)
	case b.cfg.Audit.Enabled(ctx, slog.LevelDebug): // most refreshes are not logged, and cost nothing here
		b.auditDebug(ctx, "refresh", req, token.seen(req)...)
	}
	return nil
}

func errCSRF() *Error {
	return &Error{Code: CodeCSRF, Message: "The CSRF token is missing or belongs to another session."}
}

// refused is the answer for what the pure core refused.
func refused(r session.Refusal) *Error {
	switch r {
	case session.RefuseExpired:
		return &Error{Code: CodeSessionExpired, Message: "The session has expired; sign in again."}
	case session.RefuseEnded:
		return &Error{Code: CodeSessionEnded, Message: "The session was signed out."}
	case session.RefuseRevoked:
		return &Error{Code: CodeSessionRevoked, Message: "The session was revoked; sign in again."}
	case session.RefuseUserDisabled:
		return &Error{Code: CodeUserDisabled, Message: "The user is disabled."}
	case session.RefuseSuperseded:
		return &Error{Code: CodeRefreshSuperseded, Message: "This refresh token was replaced by a newer one."}
	case session.RefuseReused:
		return &Error{Code: CodeRefreshReused, Message: "This refresh token was used before; the session was ended."}
	case session.RefuseAhead:
		return &Error{Code: CodeGenerationAhead, Message: "This refresh token is newer than the record of it; the session was ended."}
	case session.RefuseChannel:
		return &Error{Code: CodeWrongChannel, Message: "This refresh token belongs to another endpoint."}
	default:
		return &Error{Code: CodeNoSession, Message: "There is no session."}
	}
}
