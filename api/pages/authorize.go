package pages

import (
	"maps"
	"net/http"
	"net/url"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// authorize is GET and POST /auth/authorize: the authorization endpoint (RFC 6749 §3.1).
func (h *Handler) authorize(w http.ResponseWriter, r *http.Request) error {
	params, err := parameters(w, r, maxLong)
	if err != nil {
		return err
	}
	_, returned := params[broker.ReturnParam]
	params.Del(broker.ReturnParam)
	token, err := h.cookie.Read(r)
	switch {
	case err != nil:
		return err
	// One that is too long is refused by Authorize, which tells the client if it may.
	case token == "" && !returned && isCrossSite(r) && checkLength(params) == nil:
		return h.bounce(w, r, httpapi.AuthorizePath, params)
	}
	refusal := broker.Code(params.Get(errorParam))
	params.Del(errorParam)
	a, err := h.cfg.Authorizations.Authorize(r.Context(), broker.AuthorizationRequest{Params: params, RefreshToken: token}, httpapi.BrokerRequest(r))
	if err != nil {
		return err
	}
	return h.next(w, r, a, params, refusal)
}

// checkLength refuses an authorization request that is too long to be carried along.
func checkLength(params url.Values) error {
	own := maps.Clone(params)
	own.Del(broker.ContinueParam)
	own.Del(errorParam)
	if limit := broker.AuthorizationLimit(params.Get("prompt")); len(own.Encode()) > limit {
		return tooLong(limit)
	}
	return nil
}

// next does what an authorization request needs next. refusal is the code of a sign-in at a provider that failed, or empty.
func (h *Handler) next(w http.ResponseWriter, r *http.Request, a *broker.Authorization, params url.Values, refusal broker.Code) error {
	switch a.Step {
	case broker.StepSignIn:
		var failed *broker.Error
		if refusal != "" {
			failed = &broker.Error{Code: refusal}
		}
		return h.signInPage(w, r, http.StatusOK, a, params, a.LoginHint, failed)
	case broker.StepConsent:
		return h.consentPage(w, r, a, params)
	default:
		return h.leave(w, r, a)
	}
}

// authorizeURL is an authorization request at the broker.
func authorizeURL(params url.Values) string { return httpapi.AuthorizePath + "?" + params.Encode() }

// resume reads the fields of the broker's own form that continues an authorization request: the request, and the cookie.
func (h *Handler) resume(w http.ResponseWriter, r *http.Request) (fields, params url.Values, token string, err error) {
	if err := h.site.CheckOwnOrigin(r); err != nil {
		return nil, nil, "", err
	}
	if fields, err = form(w, r, maxForm); err != nil {
		return nil, nil, "", err
	}
	query, err := once(fields, "query")
	if err != nil {
		return nil, nil, "", err
	}
	if params, err = parse(query, maxAuthorization); err != nil {
		return nil, nil, "", err
	}
	if err := checkLength(params); err != nil {
		return nil, nil, "", err
	}
	token, err = h.cookie.Read(r)
	return fields, params, token, err
}
