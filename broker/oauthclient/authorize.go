package oauthclient

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
)

// clockDistance is how far the clocks of two brokers may be apart (docs/design.md §5).
const clockDistance = 4 * time.Second

// Authorize decides about a request to the authorization endpoint (OAuth 2.1 §4.1.1, OpenID Connect Core 1.0 §3.1.2). It writes
// nothing, whatever it decides. A request that has no good redirect URI is refused with CodeInvalidRedirect; every other refusal
// of the request is an answer for the redirect URI. The other errors are CodeUnavailable and those of the store.
func (svc *Service) Authorize(ctx context.Context, in broker.AuthorizationRequest, req broker.Request) (*broker.Authorization, error) {
	asked, answer, err := svc.evaluate(ctx, in, req)
	switch {
	case err != nil:
		return nil, err
	case answer != nil:
		return answer, nil
	case asked.consented():
		return svc.issueCode(ctx, asked, req)
	case asked.prompt.none:
		return svc.refuseRequest(ctx, &asked.authorizationRequest, oauthError(broker.CodeConsentRequired, "The user has to allow the request."), req), nil
	}
	return svc.askConsent(asked), nil
}

// authorizing is a valid request together with the user who is signed in for it.
type authorizing struct {
	authorizationRequest
	session *session.Session
	user    *session.User
}

// consented reports whether the user needs not be asked.
func (a *authorizing) consented() bool {
	switch {
	case a.client.Class() != broker.ClassKnown:
		return false
	case a.client.FirstParty:
		return true
	}
	return !a.prompt.consent && a.rememberable() && a.remembered()
}

// rememberable reports whether the user's consent counts for later requests. It does not for a client that anyone can pretend to be, or
// that describes itself and can change what it is.
func (a *authorizing) rememberable() bool {
	return a.client.Class() == broker.ClassKnown && !a.client.Public()
}

// remembered reports whether the user allowed the client all of the scopes before. What was allowed to a removed client
// of the same id does not count.
func (a *authorizing) remembered() bool {
	for _, c := range a.user.Consents {
		if c.ClientID == a.client.ID && c.At >= a.client.CreatedAt {
			return !slices.ContainsFunc(a.consentScopes(), func(scope string) bool { return !slices.Contains(c.Scopes, scope) })
		}
	}
	return false
}

// evaluate returns the request if it is valid and the user is signed in for it, and otherwise the answer to it.
func (svc *Service) evaluate(ctx context.Context, in broker.AuthorizationRequest, req broker.Request) (*authorizing, *broker.Authorization, error) {
	if err := svc.cfg.Secrets.Outdated(); err != nil {
		return nil, nil, commit.AppError(ctx, "checking the keys", err)
	}
	client, err := svc.redirectingClient(ctx, in.Params, req)
	if err != nil {
		return nil, nil, err
	}
	r, err := svc.parseRequest(client, in.Params)
	if err != nil {
		refused := &authorizationRequest{client: client, answer: answerOf(in.Params)}
		return nil, svc.refuseRequest(ctx, refused, commit.AppError(ctx, "checking an authorization request", err), req), nil
	}
	if r.idTokenHint != "" {
		hint, ok := svc.openHint(ctx, r.idTokenHint)
		if !ok || r.claims.subject != "" && r.claims.subject != hint.Subject {
			return nil, svc.refuseRequest(ctx, r, oauthError(broker.CodeInvalidRequest, "id_token_hint is not an id token of this issuer for the requested user."), req), nil
		}
		r.claims.subject = hint.Subject
	}
	st, refused, err := svc.browserSession(ctx, in.RefreshToken)
	if err != nil {
		return nil, nil, err
	}
	a := &authorizing{authorizationRequest: *r}
	if refused == "" {
		a.session, a.user = st.Session, st.User
	}
	if answer, err := svc.signIn(ctx, a, req); answer != nil || err != nil {
		return nil, answer, err
	}
	return a, nil, nil
}

// redirectingClient returns the client of a request, which has to be known and to have the request's redirect URI. Its Name is that for
// pages. The error for any other request is CodeInvalidRedirect, which must not be sent to the redirect URI (OAuth 2.1 §4.1.2.1).
func (svc *Service) redirectingClient(ctx context.Context, params url.Values, req broker.Request) (directory.ClientRecord, error) {
	var none directory.ClientRecord
	refuse := func(reason string) (directory.ClientRecord, error) {
		return none, svc.refuseOnPage(ctx, "authorization_refused", params.Get("client_id"), oauthError(broker.CodeInvalidRedirect, reason), req)
	}
	for _, name := range []string{"client_id", "redirect_uri"} {
		switch values := params[name]; {
		case len(values) > 1:
			return refuse("The parameter " + name + " is repeated.")
		case len(values) == 0 || values[0] == "":
			return refuse("The parameter " + name + " is missing.")
		}
	}
	client, err := svc.client(ctx, params.Get("client_id"))
	var cause *refused
	switch {
	case errors.Is(err, broker.ErrClientDocument) && errors.As(err, &cause):
		return none, svc.refuseOnPage(ctx, "authorization_refused", params.Get("client_id"), unusableDocument(cause), req)
	case err != nil:
		return none, commit.AppError(ctx, "reading the client", err)
	case client.ID == "":
		return refuse("The client is unknown.")
	case !directory.MatchRedirectURI(client.RedirectURIs, params.Get("redirect_uri")):
		return refuse("The redirect URI is not registered for the client.")
	}
	client.Name = svc.displayName(ctx, client)
	return client, nil
}

// refuseOnPage returns a refusal that only the user sees. Its audit line has the client id as it was sent, if it can be one, and
// never a URI.
func (svc *Service) refuseOnPage(ctx context.Context, event, clientID string, refusal *broker.Error, req broker.Request) error {
	attrs := []any{"refusal", string(refusal.Code), "reason", refusal.Message}
	if wellFormedID(clientID) {
		attrs = append([]any{"client", clientID}, attrs...)
	}
	svc.audit.Info(ctx, event, req, attrs...)
	return refusal
}

// browserSession returns the state of the session of a cookie's refresh token. refused is empty if the token is current, or was
// superseded within the grace, and the session is active.
func (svc *Service) browserSession(ctx context.Context, refreshToken string) (st session.State, refused session.Refusal, err error) {
	token, err := credential.ParseRefreshToken(refreshToken, svc.cfg.Secrets)
	if err != nil {
		return session.State{}, session.RefuseUnknown, nil
	}
	st, err = svc.path.View(token.UID.String()).State(ctx, token.SID.String(), "")
	if err != nil {
		return session.State{}, "", commit.AppError(ctx, "reading the session", err)
	}
	return st, session.Inspect(svc.cfg.Clock.Now(), svc.cfg.Policy, st, session.Rotate{
		Generation: token.Generation, SecretHash: token.SecretHash(), Channel: session.ChannelCookie,
	}), nil
}

// signIn returns nil if the user of the browser session is signed in as the request wants. Otherwise it returns the sign-in step,
// or the refusal if the user cannot or must not be asked.
func (svc *Service) signIn(ctx context.Context, a *authorizing, req broker.Request) (*broker.Authorization, error) {
	now := svc.cfg.Clock.Now()
	var present string // the browser session
	if a.session != nil {
		present = a.session.SID
	}
	proof, proven := credential.OpenContinue(a.continuation, a.canonical, svc.cfg.Secrets, now)
	// The session was opened for this request: it is not the one that the browser had when it got the page.
	fresh := proven && present != "" && present != proof.SID && a.session.CreatedAt >= proof.Shown.Add(-clockDistance).Unix()
	refusal := oauthError(broker.CodeLoginRequired, "The user has to sign in.")
	satisfied := false
	switch {
	case a.session == nil:
	case a.claims.subject != "" && a.claims.subject != a.session.UID:
		if fresh {
			return svc.refuseRequest(ctx, &a.authorizationRequest, oauthError(broker.CodeLoginRequired, "Another user signed in than the request is for."), req), nil
		}
	case len(a.claims.acrs) > 0 && !slices.Contains(a.claims.acrs, a.session.ACR):
		if fresh {
			return svc.refuseRequest(ctx, &a.authorizationRequest, oauthError(broker.CodeAccessDenied, "The user did not sign in with the requested acr."), req), nil
		}
	case fresh:
		satisfied = true
	default:
		old := a.maxAge >= 0 && now.Unix()-a.session.AuthTime > a.maxAge || a.maxAge == 0
		satisfied = !a.prompt.login && !a.prompt.selectAccount && !old
	}
	switch {
	case satisfied:
		return nil, nil //nolint:nilnil // no answer: the request goes on
	case a.prompt.none:
		return svc.refuseRequest(ctx, &a.authorizationRequest, refusal, req), nil
	}
	next, err := credential.Continuation{Params: a.canonical, SID: present, Shown: now}.Seal(svc.cfg.Secrets)
	if err != nil {
		return nil, commit.AppError(ctx, "sealing the continue token", err)
	}
	answer := a.step(broker.StepSignIn)
	answer.Continue, answer.LoginHint, answer.Hints = next, a.hints.LoginHint, a.hints
	if a.user != nil {
		answer.UserName = a.user.Username
	}
	return answer, nil
}

// step returns the parts that all answers have.
func (r *authorizationRequest) step(step broker.AuthorizationStep) *broker.Authorization {
	return &broker.Authorization{
		Step: step, ClientID: r.client.ID, ClientName: r.client.Name, Class: r.client.Class(), RedirectURI: r.answer.redirectURI, ResponseMode: r.answer.mode,
	}
}

func (svc *Service) askConsent(a *authorizing) *broker.Authorization {
	answer := a.step(broker.StepConsent)
	answer.Scopes, answer.UserName = a.consentScopes(), a.user.Username
	answer.CSRFToken = credential.CSRFToken(svc.cfg.Secrets, a.session.SID)
	return answer
}

// redirect returns the answer for the redirect URI, with state and iss (RFC 9207).
func (svc *Service) redirect(r *authorizationRequest, params url.Values) *broker.Authorization {
	answer := r.step(broker.StepRedirect)
	params.Set("iss", svc.cfg.Issuer)
	if r.answer.state != "" {
		params.Set("state", r.answer.state)
	}
	answer.Answer = params
	return answer
}

func (svc *Service) refuseRequest(ctx context.Context, r *authorizationRequest, refusal *broker.Error, req broker.Request) *broker.Authorization {
	svc.audit.Info(ctx, "authorization_refused", req, "client", r.client.ID, "refusal", string(refusal.Code), "reason", refusal.Message)
	return svc.redirect(r, url.Values{"error": {string(refusal.Code)}, "error_description": {refusal.Message}})
}

// issueCode answers the request with a code. Nothing is stored: the code makes the grant when it is redeemed.
func (svc *Service) issueCode(ctx context.Context, a *authorizing, req broker.Request) (*broker.Authorization, error) {
	code := credential.AuthorizationCode{
		UID: a.session.UID, SID: broker.NewID().String(), BrowserSID: a.session.SID, ClientID: a.client.ID,
		RedirectURI: a.answer.redirectURI, Challenge: a.challenge, Nonce: a.nonce, Scopes: a.scopes, Audience: a.audience, Resources: a.resources,
		CEP: a.client.Epoch, Offline: slices.Contains(a.scopes, credential.ScopeOffline), UserInfoClaims: a.claims.userInfo, IDTokenClaims: a.claims.idToken,
		ExpiresAt: svc.cfg.Clock.Now().Add(credential.CodeLife),
	}
	text, err := code.Seal(svc.cfg.Secrets)
	if err != nil {
		return nil, commit.AppError(ctx, "sealing the code", err)
	}
	svc.audit.Info(ctx, "authorized", req, "uid", code.UID, "browser_sid", code.BrowserSID, "sid", code.SID, "client", code.ClientID, "scope", strings.Join(code.Scopes, " "))
	return svc.redirect(&a.authorizationRequest, url.Values{"code": {text}}), nil
}
