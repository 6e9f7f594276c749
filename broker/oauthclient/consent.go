package oauthclient

import (
	"context"
	"slices"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
)

// Consent decides about an authorization request after the user's answer on the consent page. It checks the request again, like
// [Service.Authorize], because the page is the user's and nothing was stored. The consent for a confidential client
// that does not describe itself is remembered. The additional error is CodeCSRF.
func (svc *Service) Consent(ctx context.Context, in broker.AuthorizationRequest, decision broker.ConsentDecision, req broker.Request) (*broker.Authorization, error) {
	asked, answer, err := svc.evaluate(ctx, in, req)
	if err != nil || answer != nil {
		return answer, err
	}
	scopes := asked.consentScopes()
	attrs := []any{"uid", asked.session.UID, "browser_sid", asked.session.SID, "client", asked.client.ID, "scope", strings.Join(scopes, " ")}
	if _, ok := credential.MatchCSRF(svc.cfg.Secrets, asked.session.SID, decision.CSRFToken); !ok {
		svc.audit.Info(ctx, "csrf_mismatch", req, attrs...)
		return nil, oauthError(broker.CodeCSRF, "The CSRF token is missing or is not the session's; go back and try again.")
	}
	switch {
	case !decision.Allow:
		svc.audit.Info(ctx, "consent_denied", req, attrs...)
		return svc.refuseRequest(ctx, &asked.authorizationRequest, oauthError(broker.CodeAccessDenied, "The user did not allow the request."), req), nil
	case asked.prompt.none:
		return svc.refuseRequest(ctx, &asked.authorizationRequest, oauthError(broker.CodeConsentRequired, "The user has to allow the request."), req), nil
	case !slices.Equal(slices.Sorted(slices.Values(scopes)), slices.Sorted(slices.Values(decision.Scopes))):
		return svc.askConsent(asked), nil
	}
	if asked.rememberable() && !asked.remembered() {
		result, err := svc.path.Ask(ctx, commit.Message{UID: asked.user.UID, Message: session.Allow{ClientID: asked.client.ID, Scopes: scopes}})
		if err != nil {
			return nil, err
		}
		if refusal := result.Effects.Refusal; refusal != "" { // the user was removed or disabled in the meantime
			return nil, commit.Refused(refusal)
		}
	}
	svc.audit.Info(ctx, "consent_allowed", req, attrs...)
	return svc.issueCode(ctx, asked, req)
}
