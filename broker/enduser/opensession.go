package enduser

import (
	"context"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

const tokenUsed = "This token was exchanged before; sign in at the provider again."

// openSession opens a browser session for an authenticated user, with open's
// acr, amr and profile. marks are the replay marks of what may open only one session.
// It then ends the browser's prior session, if there is one.
func (svc *Service) openSession(ctx context.Context, uid string, open session.Open, marks []commit.Mark, prior *credential.PriorSession, req broker.Request) (*broker.Grant, error) {
	owner, ok := broker.ParseID(uid)
	if !ok {
		return nil, &broker.Error{Code: broker.CodeInternal, Message: "An internal error occurred; the broker's log has the details under this request id.", Err: session.ErrRecord}
	}
	if wait := svc.openRates.Wait(uid, svc.cfg.Clock.Now()); wait > 0 {
		svc.audit.Info(ctx, "sign_in_throttled", req, "uid", uid, "refusal", string(broker.CodeTooManySessions))
		return nil, &broker.Error{Code: broker.CodeTooManySessions, Message: "This user has opened too many sessions; try again later.", RetryAfter: wait}
	}
	token := credential.NewRefreshToken(owner, broker.NewID())
	sid := token.SID.String()
	open.SID, open.SecretHash, open.Channel = sid, token.SecretHash(), session.ChannelCookie
	open.ClientID, open.Scope, open.Device, open.Source = svc.cfg.BrowserClient, svc.cfg.BrowserScope, req.UserAgent, token.Source(req)
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, SID: sid, ClientID: open.ClientID, Marks: marks, Message: open})
	if err != nil {
		return nil, err
	}
	var account []any // of a federated login
	if open.Provider != "" {
		account = []any{"provider", open.Provider, "issuer", open.UpstreamIssuer, "subject", open.UpstreamSubject}
	}
	if refusal := result.Effects.Refusal; refusal != "" {
		svc.audit.Info(ctx, "sign_in_failed", req, append([]any{"uid", uid, "refusal", string(refusal)}, account...)...)
		switch {
		case refusal == session.RefuseUsed:
			return nil, &broker.Error{Code: broker.CodeTokenUsed, Message: tokenUsed}
		case refusal == session.RefuseUserDisabled && open.Provider != "": // the user is authenticated
			return nil, &broker.Error{Code: broker.CodeUserDisabled, Message: "This user is disabled."}
		}
		return nil, &broker.Error{Code: broker.CodeInvalidCredentials, Message: "Unknown user or wrong password."}
	}
	svc.audit.Info(ctx, "sign_in", req, append([]any{"uid", uid, "sid", sid, "client", open.ClientID, "acr", open.ACR}, account...)...)
	svc.openRates.Opened(uid, svc.cfg.Clock.Now())
	for _, ended := range result.Effects.Ended {
		svc.audit.Info(ctx, "session_displaced", req, "uid", uid, "sid", ended.SID, "by", sid)
	}
	svc.endPriorSession(ctx, prior, sid, req)
	return svc.grant(ctx, result.Effects, token, credential.CSRFToken(svc.cfg.Secrets, result.Effects.Session.SID))
}

// priorSession returns the session of the request's refresh token, or nil if there is no
// token or its MAC is invalid. The token's secret is compared when the session is ended.
func (svc *Service) priorSession(req broker.Request) *credential.PriorSession {
	token, err := credential.ParseRefreshToken(req.RefreshToken, svc.cfg.Secrets)
	if err != nil {
		return nil
	}
	return &credential.PriorSession{UID: token.UID.String(), SID: token.SID.String(), SecretHash: token.SecretHash()}
}

// endPriorSession ends a session, of any user, after another one has replaced it in the browser. The
// sign-in has succeeded by then, so that errors are only logged; the prior
// session then ends by its idle time.
func (svc *Service) endPriorSession(ctx context.Context, prior *credential.PriorSession, by string, req broker.Request) {
	if prior == nil {
		return
	}
	result, err := svc.path.Ask(ctx, commit.Message{UID: prior.UID, SID: prior.SID, ClientID: svc.cfg.BrowserClient, Message: session.EndSession{
		SecretHash: prior.SecretHash, Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff,
	}})
	switch {
	case err != nil:
		svc.cfg.Logger.WarnContext(ctx, "the session before a sign-in was not ended", "uid", prior.UID, "sid", prior.SID, "error", err)
	case result.Effects.PutSession != nil: // else it had ended, or the secret is wrong
		svc.audit.Info(ctx, "session_replaced", req, "uid", prior.UID, "sid", prior.SID, "by", by)
		result.AuditGrants(ctx, svc.audit, req)
	}
}
