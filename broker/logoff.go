package broker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// LogOff ends the session of a cookie's refresh token, of any generation. Duplicates are the
// further tokens of a browser that sent several cookies of one name: their sessions end as well,
// and csrf may be that of any of them. When LogOff returns without an error the tombstones and
// the ledger's entries are on disk and in the own denylist; Broadcast tells whether the message
// was also sent. A missing, damaged or forged token, and one of no session, ends nothing: Ended
// is false if that is true of all. CodeCSRF ends nothing. After another error some of the
// sessions may have ended; the caller tries again.
func (b *Broker) LogOff(ctx context.Context, refreshText, csrf string, req Request, duplicates ...string) (LogOffResult, error) {
	var tokens []refreshToken
	for _, text := range append([]string{refreshText}, duplicates...) {
		if token, err := parseRefreshToken(text, b.cfg.Secrets); err == nil {
			tokens = append(tokens, token)
		}
	}
	if len(tokens) == 0 {
		return LogOffResult{}, nil
	}
	own := slices.IndexFunc(tokens, func(t refreshToken) bool {
		_, ok := csrfMatches(b.cfg.Secrets, t.sid.String(), csrf)
		return ok
	})
	if own < 0 {
		b.audit(ctx, "csrf_mismatch", req, "uid", tokens[0].uid.String(), "sid", tokens[0].sid.String())
		return LogOffResult{}, errCSRF()
	}
	tokens[0], tokens[own] = tokens[own], tokens[0] // the result names the caller's own session

	tell := b.telling(ctx, req)
	defer tell.done()
	var off LogOffResult
	var provider string
	var seq uint64
	for _, token := range tokens {
		ended, err := b.logOff(ctx, token, req)
		switch {
		case err != nil:
			return LogOffResult{}, err
		case ended == nil:
			continue
		case !off.Ended:
			off.Ended, off.SID, provider = true, token.sid.String(), ended.effects.Session.Provider
		}
		seq = max(seq, ended.seq)
	}
	if off.Ended {
		off.Broadcast, off.Receipts = tell.services(ctx, seq)
		off.LogoutURL = b.logoutURL(ctx, provider, cmp.Or(req.LogoutReturn, b.cfg.LogoutReturn))
	}
	return off, nil
}

// logOff ends the session of one token; the result is nil if the token is refused.
func (b *Broker) logOff(ctx context.Context, token refreshToken, req Request) (*shardResult, error) {
	uid, sid := token.uid.String(), token.sid.String()
	result, err := b.ask(ctx, shardMessage{uid: uid, sid: sid, message: session.EndSession{
		SecretHash: token.secretHash(), Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff,
	}})
	if err != nil {
		return nil, err
	}
	if refusal := result.effects.Refusal; refusal != "" {
		b.audit(ctx, "log_off_refused", req, "uid", uid, "sid", sid, "refusal", string(refusal))
		return nil, nil //nolint:nilnil // no session of this token is an answer of a log-off
	}
	b.audit(ctx, "log_off", req, "uid", uid, "sid", sid)
	return &result, nil
}

// logoutURLWait is how long a log-off waits for a provider to tell its log-out page.
const logoutURLWait = time.Second

// logoutURL returns the log-out page of the provider that a session came from, which sends the browser to
// returnTo, or "".
func (b *Broker) logoutURL(ctx context.Context, provider, returnTo string) string {
	p, ok := b.cfg.Providers[provider]
	if !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, logoutURLWait)
	defer cancel()
	return p.LogoutURL(ctx, returnTo)
}
