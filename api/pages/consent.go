package pages

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/look"
	"tokenbroker/broker"
)

// consent is POST /auth/authorize/consent: the form of the consent page.
func (h *Handler) consent(w http.ResponseWriter, r *http.Request) error {
	fields, params, token, err := h.resume(w, r)
	if err != nil {
		return err
	}
	answer, err := once(fields, "decision")
	if err != nil {
		return err
	}
	if answer != "allow" && answer != "deny" {
		return httpapi.InvalidParameter("decision must be allow or deny")
	}
	csrf, err := once(fields, "csrf")
	if err != nil {
		return err
	}
	scope, err := once(fields, "scope")
	if err != nil {
		return err
	}
	decision := broker.ConsentDecision{Allow: answer == "allow", CSRFToken: csrf, Scopes: strings.Fields(scope)}
	a, err := h.cfg.Authorizations.Consent(r.Context(), broker.AuthorizationRequest{Params: params, RefreshToken: token}, decision, httpapi.BrokerRequest(r))
	switch {
	case err != nil:
		return err
	case a.Step == broker.StepRedirect:
		return h.send(w, r, a)
	default: // shown at the authorization endpoint, which the browser can load again
		redirect(w, authorizeURL(params))
		return nil
	}
}

// consentPage asks the user whether a client gets what it requests.
func (h *Handler) consentPage(w http.ResponseWriter, r *http.Request, a *broker.Authorization, params url.Values) error {
	type scope struct{ Name, Words string }
	client := claimsOf(a)
	title := client.title()
	shown := struct {
		Client                                           claims
		Title, User, Initial, Query, CSRF, Switch, Scope string
		Target                                           address
		Scopes                                           []scope
	}{
		Client: client, Title: title, User: a.UserName, Initial: look.Initial(a.UserName), Target: addressOf(a.RedirectURI),
		Query: params.Encode(), CSRF: a.CSRFToken, Switch: authorizeURL(withAccountSelection(params)),
		Scope: strings.Join(a.Scopes, " "),
	}
	for _, name := range a.Scopes {
		shown.Scopes = append(shown.Scopes, scope{name, h.words(name)})
	}
	return h.write(w, r, http.StatusOK, consentPage, page{
		title: h.site.Look.Plain(title, "client", client.Name), targets: []string{a.RedirectURI}, data: shown,
	})
}

// words returns what the consent page says about a scope: the operator's words, or its name.
func (h *Handler) words(scope string) string {
	if words := h.cfg.Scopes[scope]; words != "" {
		return words
	}
	if words, ok := h.site.Look.Replaced("scope." + scope); ok {
		return words
	}
	return scope
}

// withAccountSelection returns a request that lets the user sign in with another account first.
func withAccountSelection(params url.Values) url.Values {
	other := url.Values{}
	for name, values := range params {
		if name != broker.ContinueParam {
			other[name] = values
		}
	}
	prompts := slices.DeleteFunc(strings.Fields(params.Get("prompt")), func(p string) bool { return p == "select_account" || p == "login" })
	other.Set("prompt", strings.Join(append([]string{"select_account"}, prompts...), " "))
	return other
}
