package broker

import (
	"context"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// replacedSession names the session of a browser that signs in again. A login state carries
// it to the callback, which does not see the refresh cookie: that is SameSite=Strict.
type replacedSession struct {
	UID        string `json:"uid"`
	SID        string `json:"sid"`
	SecretHash []byte `json:"secret_hash"`
}

// replaced returns the session of the refresh token that came along, or nil where there is
// none or its mac is bad. Its secret is compared when the session is ended.
func (b *Broker) replaced(req Request) *replacedSession {
	token, err := parseRefreshToken(req.RefreshToken, b.cfg.Secrets)
	if err != nil {
		return nil
	}
	return &replacedSession{UID: token.uid.String(), SID: token.sid.String(), SecretHash: token.secretHash()}
}

// endReplaced ends a session once another one has taken its place in the browser, for any
// user. The sign-in has succeeded by then: what goes wrong here is only logged, and the old
// session ends when it is idle for too long.
func (b *Broker) endReplaced(ctx context.Context, old *replacedSession, by string, req Request) {
	if old == nil {
		return
	}
	result, err := b.ask(ctx, shardMessage{uid: old.UID, sid: old.SID, message: session.EndSession{
		SecretHash: old.SecretHash, Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff,
	}})
	switch {
	case err != nil:
		b.cfg.Logger.WarnContext(ctx, "the session before a sign-in was not ended", "uid", old.UID, "sid", old.SID, "error", err)
	case result.effects.PutSession != nil: // else it had ended, or the secret is wrong
		b.audit(ctx, "session_replaced", req, "uid", old.UID, "sid", old.SID, "by", by)
	}
}
