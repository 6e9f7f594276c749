package pages

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// signIn is POST /auth/authorize/sign-in: the form of the sign-in page. It opens the same session as the sign-in of a SPA,
// and goes on with the authorization request.
func (h *Handler) signIn(w http.ResponseWriter, r *http.Request) error {
	fields, params, token, err := h.resume(w, r)
	if err != nil {
		return err
	}
	username, err := once(fields, "username")
	if err != nil {
		return err
	}
	password, err := once(fields, "password")
	if err != nil {
		return err
	}
	req := httpapi.BrokerRequest(r)
	req.RefreshToken = token
	var g *broker.Grant
	if username == "" || password == "" {
		err = &broker.Error{Code: broker.CodeInvalidCredentials, Message: "username or password is missing"}
	} else {
		g, err = h.cfg.Sessions.SignIn(r.Context(), username, password, req)
	}
	x := httpapi.EntryOf(r)
	var refusal *broker.Error
	if err != nil {
		refusal = httpapi.Refusal(r, err)
		x.Code, x.Cause = refusal.Code, refusal.Err
	}
	switch {
	case g != nil: // also with an error: the session exists, and the access token of the SPA is not needed
		h.cookie.Open(w, g.RefreshToken, g.RefreshMaxAge)
		redirect(w, authorizeURL(params))
		return nil
	case !showsOnForm(refusal.Code):
		return err
	}
	a, err := h.cfg.Authorizations.Authorize(r.Context(), broker.AuthorizationRequest{Params: params, RefreshToken: token}, httpapi.BrokerRequest(r))
	if err != nil {
		return err
	}
	if a.Step != broker.StepSignIn { // the browser signed in elsewhere
		return h.next(w, r, a, params, "")
	}
	httpapi.SetRefusalHeaders(w, refusal)
	return h.signInPage(w, r, httpapi.Status(refusal.Code), a, params, username, refusal)
}

// showsOnForm reports whether the sign-in page can explain a refusal, so that the user can try again there.
func showsOnForm(code broker.Code) bool {
	switch httpapi.Status(code) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// signInPage shows the sign-in page, with the reason of a sign-in that failed.
func (h *Handler) signInPage(w http.ResponseWriter, r *http.Request, status int, a *broker.Authorization, params url.Values, username string, failed *broker.Error) error {
	params.Del(broker.ContinueParam)
	if a.Continue != "" {
		params.Set(broker.ContinueParam, a.Continue)
	}
	type provider struct{ Name, URL string }
	shown := struct {
		Lead, Client, Username, Error, Query string
		Providers                            []provider
	}{Username: username, Query: params.Encode()}
	shown.Lead, shown.Client = claimsOf(a).lead()
	if h.cfg.Logins != nil {
		for _, name := range h.cfg.Logins.Providers() {
			shown.Providers = append(shown.Providers, provider{h.site.Look.Provider(name), loginURL(name, params, a.Hints)})
		}
	}
	if failed != nil {
		shown.Error = h.explain(failed)
	}
	return h.write(w, r, status, signInPage, page{title: h.site.Look.Plain("sign_in.title"), targets: []string{a.RedirectURI}, data: shown})
}

// loginURL is where a sign-in at a provider starts, which goes on with the authorization request.
func loginURL(provider string, params url.Values, hints broker.LoginHints) string {
	query := url.Values{"provider": {provider}, "return_to": {authorizeURL(params)}}
	for name, value := range map[string]string{
		"prompt": hints.Prompt, "login_hint": hints.LoginHint, "max_age": hints.MaxAge, "acr_values": hints.ACRValues,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return "/auth/login/?" + query.Encode()
}

// explain returns the text of the page about a sign-in that failed.
func (h *Handler) explain(e *broker.Error) string {
	l := h.site.Look
	switch e.Code {
	case broker.CodeInvalidCredentials, broker.CodeUserDisabled, broker.CodeUpstreamUnavailable, broker.CodeEmailNotVerified:
		return l.Plain("sign_in.error." + string(e.Code))
	case broker.CodeTooManyAttempts, broker.CodeTooManySessions:
		wait := l.Plain("time.seconds", "n", strconv.Itoa(max(1, int((e.RetryAfter+time.Second-1)/time.Second))))
		if e.RetryAfter > time.Minute {
			wait = l.Plain("time.minutes", "n", strconv.Itoa(int((e.RetryAfter+time.Minute-1)/time.Minute)))
		}
		return l.Plain("sign_in.error."+string(e.Code), "time", wait)
	}
	if httpapi.Status(e.Code) == http.StatusServiceUnavailable {
		return l.Plain("sign_in.error.busy")
	}
	return l.Plain("sign_in.error.other")
}
