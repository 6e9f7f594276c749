// Package browser serves the endpoints that pages call: signing in with a password or through a
// provider, the session, and logging off, below /auth; and the files and pages at / and /web.
package browser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// Sessions are the use cases of a browser's session. The broker implements it; errors are
// [*broker.Error] where the caller may know the reason.
type Sessions interface {
	SignIn(ctx context.Context, username, password string, req broker.Request) (*broker.Grant, error)
	Refresh(ctx context.Context, refreshToken, csrf string, req broker.Request) (*broker.Grant, error)
	LogOff(ctx context.Context, refreshToken, csrf string, req broker.Request, duplicates ...string) (broker.LogOffResult, error)
	Session(ctx context.Context, refreshToken string, req broker.Request) (*broker.SessionInfo, error)
}

// Logins are the use cases of signing in through a provider. The broker implements it.
type Logins interface {
	Providers() []string
	StartLogin(ctx context.Context, provider, redirectURI, returnTo string, req broker.Request) (*broker.LoginStart, error)
	CompleteLogin(ctx context.Context, cb broker.LoginCallback, req broker.Request) (g *broker.Grant, returnTo string, err error)
	NewExchangeNonce() broker.ExchangeNonce
	ExchangeTokens(ctx context.Context, provider string, tokens broker.UpstreamTokens, req broker.Request) (*broker.Grant, error)
}

// Config is the configuration of the browser's endpoints.
type Config struct {
	Sessions Sessions
	// Logins has the use cases of signing in through a provider. If nil, no provider is configured and
	// the paths of providers do not exist.
	Logins Logins
	// Cookie is the refresh cookie.
	Cookie httpapi.Cookie
	// HomeURL is the target of logins without return_to and of the links of pages: a URL of the
	// issuer's or a configured origin. If empty, the root of the first of the SPAs' origins, or the
	// issuer's if there are none.
	HomeURL string
	// Demo is the demo page.
	Demo Demo
}

// Handler serves the browser's endpoints. It is safe for concurrent use.
type Handler struct {
	cfg    Config
	site   *httpapi.Site
	cookie httpapi.RefreshCookie
	logins attemptCookies // Lax, because the provider sends the browser back
	nonces attemptCookies
	files  []httpapi.Route
}

// New checks the configuration. Pages of site may call.
func New(cfg Config, site *httpapi.Site) (*Handler, error) {
	if err := cfg.Cookie.Validate(); err != nil {
		return nil, err
	}
	switch {
	case cfg.Sessions == nil:
		return nil, errors.New("missing: Sessions")
	case site.Development && !cfg.Cookie.Insecure:
		return nil, errors.New("InsecureDevelopment without an insecure cookie: want Cookie.Insecure")
	}
	h := &Handler{
		cfg: cfg, site: site, cookie: httpapi.NewRefreshCookie(cfg.Cookie),
		logins: newAttemptCookies("tb_login_", cfg.Cookie.Insecure, http.SameSiteLaxMode, broker.LoginLife),
		nonces: newAttemptCookies("tb_nonce_", cfg.Cookie.Insecure, http.SameSiteStrictMode, broker.NonceLife),
	}
	if cfg.HomeURL != "" {
		if _, err := h.checkReturn(cfg.HomeURL); err != nil {
			return nil, fmt.Errorf("home URL %q: want a URL of the broker's own or a configured origin", cfg.HomeURL)
		}
	}
	files, err := h.fileRoutes()
	if err != nil {
		return nil, err
	}
	h.files = files
	return h, nil
}

// Home returns the target of logins without return_to.
func (h *Handler) Home() string { return cmp.Or(h.cfg.HomeURL, h.site.Home()) }

// HomePage returns where pages lead back to, or "" if there is no such page: without a home URL and a SPA there is only the
// broker's own root, which has a page for users only in dev.
func (h *Handler) HomePage() string {
	if home := h.Home(); home != "/" || h.hasDemo() {
		return home
	}
	return ""
}

// hasDemo reports whether the root is the demo page.
func (h *Handler) hasDemo() bool { return len(h.cfg.Demo.Services) > 0 }

// Routes returns the endpoints.
func (h *Handler) Routes() []httpapi.Route {
	routes := append([]httpapi.Route{
		httpapi.Post("/auth/sign-in", h.signIn),
		httpapi.Post("/auth/refresh", h.refresh),
		httpapi.Post("/auth/logoff", h.logOff),
		httpapi.Get("/auth/session", h.session),
	}, h.files...)
	if h.cfg.Logins == nil {
		return routes
	}
	get := []string{http.MethodGet} // not HEAD: these change cookies
	return append(routes,
		httpapi.Route{Methods: get, Path: "/auth/login", Endpoint: h.login},
		httpapi.Route{Methods: get, Path: "/auth/callback/:provider", Endpoint: h.callback},
		httpapi.Route{Methods: get, Path: "/auth/exchange-nonce", Endpoint: h.exchangeNonce},
		httpapi.Post("/auth/social-exchange", h.socialExchange),
	)
}
