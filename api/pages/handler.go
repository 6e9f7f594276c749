// Package pages serves the pages of sign-in, consent and log-out, and the authorization endpoint that shows them.
package pages

import (
	"context"
	"net/http"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// Authorizations are the use cases of the authorization endpoint. The broker implements it; errors are
// [*broker.Error] where the caller may know the reason.
type Authorizations interface {
	Authorize(ctx context.Context, in broker.AuthorizationRequest, req broker.Request) (*broker.Authorization, error)
	Consent(ctx context.Context, in broker.AuthorizationRequest, decision broker.ConsentDecision, req broker.Request) (*broker.Authorization, error)
}

// Logouts decide about log-out requests.
type Logouts interface {
	EndSession(ctx context.Context, in broker.EndSessionRequest, req broker.Request) (*broker.EndSession, error)
}

// Sessions open and end the browser's session.
type Sessions interface {
	SignIn(ctx context.Context, username, password string, req broker.Request) (*broker.Grant, error)
	LogOff(ctx context.Context, refreshToken, csrf string, req broker.Request, duplicates ...string) (broker.LogOffResult, error)
}

// Logins name the providers that users can sign in with. The pages lead to /auth/login.
type Logins interface {
	Providers() []string
}

// Config is the configuration of the pages.
type Config struct {
	// Authorizations, Logouts and Sessions are required.
	Authorizations Authorizations
	Logouts        Logouts
	Sessions       Sessions
	// Logins may be nil: then the sign-in page offers no providers.
	Logins Logins
	// Cookie is the refresh cookie.
	Cookie httpapi.Cookie
	// Scopes are the words for scopes on the consent page. A scope without words is shown by its name, except
	// for the scopes of OpenID Connect, which have words of their own.
	Scopes map[string]string
	// Home returns where the pages of log-out lead back to, or "" if there is no such page. If nil, it is the root of the first SPA.
	Home func() string
}

// Handler serves the pages. It is safe for concurrent use.
type Handler struct {
	cfg    Config
	site   *httpapi.Site
	cookie httpapi.RefreshCookie
}

// New checks the configuration. The pages are those of site.
func New(cfg Config, site *httpapi.Site) (*Handler, error) {
	if err := cfg.Cookie.Validate(); err != nil {
		return nil, err
	}
	if err := httpapi.Missing(map[string]bool{
		"Authorizations": cfg.Authorizations == nil, "Logouts": cfg.Logouts == nil, "Sessions": cfg.Sessions == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Home == nil {
		cfg.Home = site.Home
	}
	return &Handler{cfg: cfg, site: site, cookie: httpapi.NewRefreshCookie(cfg.Cookie)}, nil
}

// Routes returns the endpoints. None of them answers HEAD, because they change cookies and sessions.
func (h *Handler) Routes() []httpapi.Route {
	both := []string{http.MethodGet, http.MethodPost}
	routes := []httpapi.Route{
		{Methods: both, Path: httpapi.AuthorizePath, Endpoint: h.authorize},
		httpapi.Post(httpapi.AuthorizePath+"/sign-in", h.signIn),
		httpapi.Post(httpapi.AuthorizePath+"/consent", h.consent),
		{Methods: both, Path: httpapi.LogoutPath, Endpoint: h.logout},
		httpapi.Post(httpapi.LogoutPath+"/confirm", h.confirmLogout),
	}
	for i := range routes {
		routes[i].Wrap = forPeople
	}
	for path, image := range h.site.Look.Logos {
		routes = append(routes, httpapi.Get(path, logo(image)))
	}
	return routes
}

// forPeople returns an endpoint whose refusals are pages for every caller, also those of the guard before it.
func forPeople(next httpapi.Endpoint) httpapi.Endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		httpapi.EntryOf(r).Page = true
		return next(w, r)
	}
}
