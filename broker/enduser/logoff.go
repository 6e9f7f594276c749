package enduser

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// LogOff ends the session of a cookie's refresh token, of any generation. Duplicates are the
// other tokens of a browser that sent several cookies of one name: their sessions are also ended,
// and csrf may belong to any of them. When LogOff returns without an error, the tombstones and
// the ledger's entries are on disk and in the broker's own denylist, and Broadcast reports whether the message
// was also sent. A missing, damaged or forged token, and one without a session, ends nothing: Ended
// is false if no token ended a session. CodeCSRF ends nothing. After another error some of the
// sessions may have ended; the caller should try again.
func (svc *Service) LogOff(ctx context.Context, refreshText, csrf string, req broker.Request, duplicates ...string) (broker.LogOffResult, error) {
	if err := svc.checkKeys(ctx); err != nil {
		return broker.LogOffResult{}, err
	}
	var tokens []credential.RefreshToken
	for _, text := range append([]string{refreshText}, duplicates...) {
		if token, err := credential.ParseRefreshToken(text, svc.cfg.Secrets); err == nil {
			tokens = append(tokens, token)
		}
	}
	if len(tokens) == 0 {
		return broker.LogOffResult{}, nil
	}
	own := slices.IndexFunc(tokens, func(t credential.RefreshToken) bool {
		_, ok := credential.MatchCSRF(svc.cfg.Secrets, t.SID.String(), csrf)
		return ok
	})
	if own < 0 {
		svc.audit.Info(ctx, "csrf_mismatch", req, "uid", tokens[0].UID.String(), "sid", tokens[0].SID.String())
		return broker.LogOffResult{}, errCSRF()
	}
	tokens[0], tokens[own] = tokens[own], tokens[0] // the result contains the caller's own session

	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	var off broker.LogOffResult
	var provider string
	var seq uint64
	for _, token := range tokens {
		ended, err := svc.logOff(ctx, token, req)
		switch {
		case err != nil:
			return broker.LogOffResult{}, err
		case ended == nil:
			continue
		case !off.Ended:
			off.Ended, off.SID, provider = true, token.SID.String(), ended.Effects.Session.Provider
		}
		seq = max(seq, ended.Seq)
	}
	if off.Ended {
		off.Broadcast, off.Receipts = delivery.Wait(ctx, seq)
		off.Provider, off.LogoutURL = provider, svc.logoutURL(ctx, provider, cmp.Or(req.LogoutReturn, svc.cfg.LogoutReturn))
	}
	return off, nil
}

// logOff ends the session of one token; the result is nil if the token is refused.
func (svc *Service) logOff(ctx context.Context, token credential.RefreshToken, req broker.Request) (*commit.Result, error) {
	uid, sid := token.UID.String(), token.SID.String()
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, SID: sid, ClientID: svc.cfg.BrowserClient, Message: session.EndSession{
		SecretHash: token.SecretHash(), Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff,
	}})
	if err != nil {
		return nil, err
	}
	if refusal := result.Effects.Refusal; refusal != "" {
		svc.audit.Info(ctx, "log_off_refused", req, "uid", uid, "sid", sid, "refusal", string(refusal))
		return nil, nil //nolint:nilnil // a token without a session is not an error of a log-off
	}
	svc.audit.Info(ctx, "log_off", req, "uid", uid, "sid", sid)
	result.AuditGrants(ctx, svc.audit, req)
	return &result, nil
}

// logoutURLWait is how long a log-off waits for the URL of a provider's log-out page.
const logoutURLWait = time.Second

// logoutURL returns the log-out page of the provider that a session came from, which sends the browser to
// returnTo, or "".
func (svc *Service) logoutURL(ctx context.Context, provider, returnTo string) string {
	p, ok := svc.cfg.Providers[provider]
	if !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, logoutURLWait)
	defer cancel()
	return p.LogoutURL(ctx, returnTo)
}
