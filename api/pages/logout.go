package pages

import (
	"html/template"
	"net/http"
	"net/url"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// logout is GET and POST /auth/logout: OpenID Connect RP-Initiated Logout 1.0 §2.
func (h *Handler) logout(w http.ResponseWriter, r *http.Request) error {
	params, err := parameters(w, r, maxLogout)
	if err != nil {
		return err
	}
	_, returned := params[broker.ReturnParam]
	params.Del(broker.ReturnParam)
	token, err := h.cookie.Read(r)
	switch {
	case err != nil:
		return err
	case token == "" && !returned && isCrossSite(r):
		return h.bounce(w, r, httpapi.LogoutPath, params)
	}
	return h.endSession(w, r, params, token, "")
}

// confirmLogout is POST /auth/logout/confirm: the form of the page that asks.
func (h *Handler) confirmLogout(w http.ResponseWriter, r *http.Request) error {
	if err := h.site.CheckOwnOrigin(r); err != nil {
		return err
	}
	fields, err := form(w, r, maxForm)
	if err != nil {
		return err
	}
	query, err := once(fields, "query")
	if err != nil {
		return err
	}
	csrf, err := once(fields, "csrf")
	if err != nil {
		return err
	}
	params, err := parse(query, maxLogout)
	if err != nil {
		return err
	}
	token, err := h.cookie.Read(r)
	if err != nil {
		return err
	}
	return h.endSession(w, r, params, token, csrf)
}

// endSession asks the user, or ends the session and leads on.
func (h *Handler) endSession(w http.ResponseWriter, r *http.Request, params url.Values, token, csrf string) error {
	in := broker.EndSessionRequest{RefreshToken: token, CSRFToken: csrf}
	for name, value := range map[string]*string{
		"id_token_hint": &in.IDTokenHint, "client_id": &in.ClientID, "post_logout_redirect_uri": &in.PostLogoutURI, "state": &in.State,
	} {
		var err error
		if *value, err = once(params, name); err != nil {
			return err
		}
	}
	end, err := h.cfg.Logouts.EndSession(r.Context(), in, httpapi.BrokerRequest(r))
	switch {
	case err != nil:
		return err
	case end.Ask:
		return h.logoutPage(w, r, end, params)
	}
	var done broker.LogOffResult
	if end.LogOff {
		done, err = h.cfg.Sessions.LogOff(r.Context(), token, end.CSRFToken, httpapi.BrokerRequest(r))
		if err != nil && !httpapi.EndsSession(r, err) {
			return err
		}
	}
	if token != "" {
		h.cookie.Clear(w)
	}
	// Anyone can have a client that describes itself, and a link to this site must not lead to any other one.
	if end.RedirectURL == "" || end.Class != broker.ClassKnown && !isLoopback(end.RedirectURL) {
		return h.signedOutPage(w, r, done, end.RedirectURL)
	}
	redirect(w, end.RedirectURL)
	return nil
}

// logoutPage asks whether to end the session.
func (h *Handler) logoutPage(w http.ResponseWriter, r *http.Request, end *broker.EndSession, params url.Values) error {
	asks := "logout.client"
	if end.Class != broker.ClassKnown {
		asks = "logout.unverified"
	}
	shown := struct{ Client, Asks, User, Query, CSRF, Stay string }{end.ClientName, asks, end.UserName, params.Encode(), end.CSRFToken, h.cfg.Home()}
	return h.write(w, r, http.StatusOK, logoutPage, page{title: h.site.Look.Plain("logout.title"), targets: []string{end.RedirectURL}, data: shown})
}

// signedOutPage says that the session has ended, and offers to end the one at the provider and to go on to a redirect URI. If
// that is empty, it offers to go home.
func (h *Handler) signedOutPage(w http.ResponseWriter, r *http.Request, done broker.LogOffResult, redirectURI string) error {
	shown := struct {
		Provider, ProviderName, HomeHost string
		Home                             template.URL
	}{Provider: done.LogoutURL, ProviderName: h.site.Look.Provider(done.Provider)}
	if redirectURI != "" {
		shown.Home, shown.HomeHost = template.URL(redirectURI), addressOf(redirectURI).String() //nolint:gosec // see answer.URL
	} else {
		shown.Home = template.URL(h.cfg.Home()) //nolint:gosec // of the configuration
		if u, err := url.Parse(string(shown.Home)); err == nil {
			shown.HomeHost = u.Host
		}
	}
	return h.write(w, r, http.StatusOK, signedOutPage, page{title: h.site.Look.Plain("signed_out.title"), data: shown})
}
