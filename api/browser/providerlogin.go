package browser

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// login is GET /auth/login/?provider&return_to: it sends the browser to the provider, the
// only one if none is named, or lets the user choose. The parameters prompt, login_hint, max_age and
// acr_values are hints for the provider. When the login cannot start, a browser
// that came with a return_to goes back there with the parameter error, as from [Handler.callback].
func (h *Handler) login(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if err := single(query, "provider", "return_to"); err != nil {
		return err
	}
	returnTo, err := h.returnTo(query.Get("return_to"))
	if err != nil {
		return err
	}
	provider := query.Get("provider")
	if names := h.cfg.Logins.Providers(); provider == "" && len(names) != 1 {
		return h.choosePage(w, r, names, returnTo)
	} else if provider == "" {
		provider = names[0]
	}
	req := h.signInRequest(r)
	if req.Hints, err = loginHints(query); err != nil {
		return err
	}
	start, err := h.cfg.Logins.StartLogin(r.Context(), provider, h.callbackURI(r, provider), returnTo, req)
	if err != nil {
		if query.Get("return_to") != "" && httpapi.PrefersHTML(r) {
			w.Header().Add("Vary", "Accept")
			redirectError(w, r, returnTo, err)
			return nil
		}
		return err
	}
	h.logins.set(w, r, start.CookieSuffix, start.CookieValue)
	redirect(w, start.RedirectURL, http.StatusFound)
	return nil
}

// maxHint is the length of the longest hint for a provider in bytes. Hints come from an authorization request.
const maxHint = broker.MaxAuthorizationQuery

// loginHints reads the hints for the provider.
func loginHints(query url.Values) (broker.LoginHints, error) {
	hints := broker.LoginHints{Prompt: query.Get("prompt"), MaxAge: query.Get("max_age"), LoginHint: query.Get("login_hint"), ACRValues: query.Get("acr_values")}
	if err := single(query, "prompt", "max_age", "login_hint", "acr_values"); err != nil {
		return broker.LoginHints{}, err
	}
	switch {
	case hints.Prompt != "" && hints.Prompt != "login" && hints.Prompt != "select_account":
		return broker.LoginHints{}, httpapi.InvalidParameter("prompt must be login or select_account")
	case len(hints.MaxAge) > 10 || strings.Trim(hints.MaxAge, "0123456789") != "":
		return broker.LoginHints{}, httpapi.InvalidParameter("max_age must be a number of seconds")
	case max(len(hints.LoginHint), len(hints.ACRValues)) > maxHint:
		return broker.LoginHints{}, httpapi.InvalidParameter(fmt.Sprintf("a hint for the provider may have at most %d bytes", maxHint))
	}
	return hints, nil
}

// callback is GET /auth/callback/:provider/: where the provider sends the browser back. A
// refusal goes to return_to with the parameter error if the login cookie can be opened, and is
// answered otherwise.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if err := single(query, "code", "state", "iss", "error"); err != nil {
		return err
	}
	provider := r.PathValue("provider")
	suffix := broker.LoginCookieSuffix(query.Get("state"))
	cookie, err := h.logins.read(r, suffix)
	if err != nil {
		return err
	}
	grant, returnTo, err := h.cfg.Logins.CompleteLogin(r.Context(), broker.LoginCallback{
		Provider: provider, Code: query.Get("code"), State: query.Get("state"), Issuer: query.Get("iss"),
		Error: query.Get("error"), Cookie: cookie,
	}, h.signInRequest(r))
	if returnTo != "" {
		h.logins.clear(w, suffix)
	}
	if grant != nil { // also with an error: the session exists
		h.cookie.Open(w, grant.RefreshToken, grant.RefreshMaxAge)
	}
	switch {
	case err == nil:
		redirect(w, returnTo, http.StatusSeeOther)
		return nil
	case returnTo != "":
		redirectError(w, r, returnTo, err)
		return nil
	default:
		return err
	}
}

// callbackURI is where the provider sends the browser back: at the issuer, independent of the
// request's Host. In development it is at the request's host, if that is an allowed origin,
// because the browser has the cookies for that host.
func (h *Handler) callbackURI(r *http.Request, provider string) string {
	base := h.site.Issuer
	if h.site.Development {
		base = cmp.Or(h.site.AtHost(r.Host), base)
	}
	return strings.TrimSuffix(base, "/") + "/auth/callback/" + url.PathEscape(provider) + "/"
}

// single refuses a repeated parameter, because two readers might use different values.
func single(query url.Values, names ...string) error {
	for _, name := range names {
		if len(query[name]) > 1 {
			return &broker.Error{Code: httpapi.CodeRepeatedParameter, Message: name + " occurs twice; send it once"}
		}
	}
	return nil
}

// redirectError sends the browser to a checked return_to with the reason of err.
func redirectError(w http.ResponseWriter, r *http.Request, returnTo string, err error) {
	reason := httpapi.Refusal(r, err)
	x := httpapi.EntryOf(r)
	x.Code, x.Cause = reason.Code, reason.Err
	redirect(w, withError(returnTo, reason.Code), http.StatusSeeOther)
}

// redirect redirects the browser, without the body that net/http would add.
func redirect(w http.ResponseWriter, to string, status int) {
	w.Header().Set("Location", to)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
}

// choosePage lets the user choose a provider.
func (h *Handler) choosePage(w http.ResponseWriter, r *http.Request, names []string, returnTo string) error {
	p := httpapi.Page{Title: "Sign in with"}
	if len(names) == 0 {
		p = httpapi.Page{Title: "Sign-in through a provider is not available", Text: "No sign-in provider is configured.", Choices: httpapi.LinkTo("Back", h.HomePage())}
	}
	for _, name := range names {
		query := url.Values{"provider": {name}, "return_to": {returnTo}}
		p.Choices = append(p.Choices, httpapi.Choice{Name: h.site.Look.Provider(name), URL: "/auth/login/?" + query.Encode()})
	}
	httpapi.WritePage(w, r, http.StatusOK, p)
	return nil
}

// nonceAnswer is the body of GET /auth/exchange-nonce. Expires is in Unix seconds, ExpiresIn
// in seconds.
type nonceAnswer struct {
	Nonce     string `json:"nonce"`
	Expires   int64  `json:"expires"`
	ExpiresIn int64  `json:"expires_in"`
}

// exchangeNonce is GET /auth/exchange-nonce: a nonce for the authentication request of a SPA
// that signs in at a provider itself. Pages of other sites are refused, because they could only
// displace the cookies of open sign-ins.
func (h *Handler) exchangeNonce(w http.ResponseWriter, r *http.Request) error {
	if err := h.site.CheckOrigin(r); err != nil {
		return err
	}
	nonce := h.cfg.Logins.NewExchangeNonce()
	h.nonces.set(w, r, nonce.CookieSuffix, nonce.CookieValue)
	return httpapi.WriteJSON(w, http.StatusOK, nonceAnswer{nonce.Nonce, nonce.ExpiresAt.Unix(), int64(nonce.ExpiresIn / time.Second)})
}

// socialExchange is POST /auth/social-exchange/ {id_token, access_token, refresh_token,
// expires_in, token_type, provider?}. The upstream refresh token is neither needed nor kept.
func (h *Handler) socialExchange(w http.ResponseWriter, r *http.Request) error {
	if err := h.site.CheckPost(r); err != nil {
		return err
	}
	var tokens broker.UpstreamTokens
	var provider string
	err := httpapi.ReadMembers(w, r, httpapi.Required("id_token", &tokens.IDToken), httpapi.Optional("access_token", &tokens.AccessToken),
		httpapi.Optional("provider", &provider))
	if err != nil {
		return err
	}
	if names := h.cfg.Logins.Providers(); provider == "" && len(names) == 1 {
		provider = names[0]
	} else if provider == "" {
		return httpapi.InvalidBody("provider is missing; it must be one of " + strings.Join(names, ", "))
	}
	var suffix string // of the nonce's cookie
	tokens.NonceCookie = func(of string) (string, error) {
		suffix = of
		return h.nonces.read(r, of)
	}
	g, err := h.cfg.Logins.ExchangeTokens(r.Context(), provider, tokens, h.signInRequest(r))
	if g != nil && suffix != "" {
		h.nonces.clear(w, suffix)
	}
	return h.opened(w, g, err)
}
