package broker

import (
	"context"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// LogOff ends the session of a cookie's refresh token, of whatever generation. When it
// returns without an error the tombstone and the ledger's entry are on disk and in the
// own denylist; Broadcast tells whether the message has left, too. A missing, damaged or
// forged token, and one of no session, is Ended=false. CodeCSRF ends nothing.
func (b *Broker) LogOff(ctx context.Context, refreshText, csrf string, req Request) (LogOffResult, error) {
	token, err := parseRefreshToken(refreshText, b.cfg.Secrets)
	if err != nil {
		return LogOffResult{}, nil //nolint:nilerr // nothing to end is not an error of a log-off
	}
	uid, sid := token.uid.String(), token.sid.String()
	if _, ok := csrfMatches(b.cfg.Secrets, sid, csrf); !ok {
		b.audit(ctx, "csrf_mismatch", req, "uid", uid, "sid", sid)
		return LogOffResult{}, errCSRF()
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	result, err := b.ask(ctx, shardMessage{uid: uid, sid: sid, message: session.EndSession{
		SecretHash: token.secretHash(), Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff,
	}})
	if err != nil {
		return LogOffResult{}, err
	}
	if refusal := result.effects.Refusal; refusal != "" {
		b.audit(ctx, "log_off_refused", req, "uid", uid, "sid", sid, "refusal", string(refusal))
		return LogOffResult{}, nil
	}
	b.audit(ctx, "log_off", req, "uid", uid, "sid", sid)
	off := LogOffResult{Ended: true, SID: sid}
	off.Broadcast, off.Receipts = tell.services(ctx, result.seq)
	off.LogoutURL = b.logoutURL(ctx, result.effects.Session.Provider)
	return off, nil
}

// logoutURLWait is how long a log-off waits for a provider to tell its log-out page.
const logoutURLWait = time.Second

// logoutURL is the log-out page of the provider that a session came from, or "".
func (b *Broker) logoutURL(ctx context.Context, provider string) string {
	p, ok := b.cfg.Providers[provider]
	if !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, logoutURLWait)
	defer cancel()
	return p.LogoutURL(ctx, b.cfg.LogoutReturn)
}
