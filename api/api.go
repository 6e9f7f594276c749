// Package api composes the broker's public HTTP surface: it turns requests into calls of the
// broker's use cases and their answers into HTTP. It makes no decisions of its own.
//
// Each audience has its package, with the interfaces that it needs: api/browser (pages of SPAs and their
// users), api/pages (users of OAuth clients), api/oauth (OAuth clients, and services that check tokens), api/feed (services that read revocations) and
// api/admin (operators, on their own listeners). They do not depend on the store, the keys or the
// network, and do not import each other. Their common code is in api/httpapi.
//
// A request passes, in this order: request id and access log (httpapi/accesslog.go), CORS and
// pre-flights (httpapi/site.go), the router (api.go), and in a browser endpoint the order of
// refusal: content type 415, origin 403, size 413, body 400, cookie 400 or 401, and then
// any refusal by the broker. An operator's request passes its own guard (admin/guard.go): host
// 421, origin 403, credentials 401. Every refusal is an RFC 9457 problem with a stable code;
// httpapi/problem.go is the only place where a code becomes a status. The endpoints below /oauth2 refuse in the form of
// RFC 6749 instead (oauth/errors.go), and the authorization endpoint tells the client in the redirect.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"tokenbroker/api/browser"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/oauth"
	"tokenbroker/api/pages"
	"tokenbroker/broker"
)

// Config is the configuration of the public handler.
type Config struct {
	// SiteConfig has the URLs of the broker and its SPAs.
	httpapi.SiteConfig
	// Browser, Pages, OAuth and Feed configure the endpoints of each audience. Pages leads back to where Browser does, and
	// has its cookie.
	Browser browser.Config
	Pages   pages.Config
	OAuth   oauth.Config
	Feed    feed.Config
	// TrustedProxies are the addresses or CIDRs whose X-Forwarded-For and X-Request-Id are
	// used. If empty, no proxy is trusted.
	TrustedProxies []string
	// Readiness returns the checks for each GET /readyz.
	Readiness func(ctx context.Context) []httpapi.Check
	// Guard is called once for each route and may refuse its requests before their endpoint. If nil, none is
	// refused.
	Guard httpapi.Guard
	// Logger receives one line per request. If nil, slog.Default is used.
	Logger *slog.Logger
	// Observe is called after each request with the route's pattern or "unmatched", never with a
	// path. It may be nil.
	Observe func(route, method string, status int, d time.Duration)
}

// Public is the public handler. It is safe for concurrent use.
type Public struct {
	http.Handler
	// Site has the allowed origins.
	*httpapi.Site
	clients *httpapi.ClientResolver
}

// UnreadableForwarded returns the number of requests of trusted proxies since the start whose
// client is unknown because an entry of X-Forwarded-For cannot be read.
func (p *Public) UnreadableForwarded() uint64 { return p.clients.Unreadable() }

// New returns the public handler. It is safe for concurrent use, starts no goroutine and
// needs no closing. It puts gin, which knows one mode per process, into release mode
// unless the process chose another than gin's default.
func New(cfg Config) (*Public, error) {
	p, err := newPublic(cfg)
	if err != nil {
		return nil, fmt.Errorf("configuring the HTTP surface: %w", err)
	}
	return p, nil
}

func newPublic(cfg Config) (*Public, error) {
	if cfg.Readiness == nil {
		return nil, errors.New("missing: Readiness")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	site, err := httpapi.NewSite(cfg.SiteConfig)
	if err != nil {
		return nil, err
	}
	trusted, err := httpapi.ParseProxies(cfg.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted proxies: %w", err)
	}
	made, routes, err := endpoints(cfg, site)
	if err != nil {
		return nil, err
	}
	router, err := newRouter(routes, cfg.Guard)
	if err != nil {
		return nil, err
	}
	clients := httpapi.NewClientResolver(trusted, cfg.Logger)
	outermost := httpapi.Middleware{Logger: cfg.Logger, Observe: cfg.Observe, HTTPS: site.HTTPS(), Clients: clients, Home: made.browser.HomePage, Look: site.Look}
	cross := httpapi.CrossOrigin{
		IsPublic:     func(path string) bool { return browser.IsSDK(path) || oauth.IsDocument(path) },
		IsOpen:       made.oauth.IsOpen,
		IsForClients: oauth.IsForClients, AllowsClient: made.oauth.AllowsClientOrigin,
	}
	return &Public{Handler: outermost.Wrap(site.CORS(router, cross)), Site: site, clients: clients}, nil
}

// handlers are the endpoints of audiences that the composition asks.
type handlers struct {
	browser *browser.Handler
	oauth   *oauth.Handler
}

// endpoints returns the routes of all audiences.
func endpoints(cfg Config, site *httpapi.Site) (made handlers, routes []httpapi.Route, err error) {
	if made.browser, err = browser.New(cfg.Browser, site); err != nil {
		return made, nil, err
	}
	if made.oauth, err = oauth.New(cfg.OAuth, site); err != nil {
		return made, nil, err
	}
	cfg.Pages.Home, cfg.Pages.Cookie = made.browser.HomePage, cfg.Browser.Cookie
	forUsers, err := pages.New(cfg.Pages, site)
	if err != nil {
		return made, nil, err
	}
	revocations, err := feed.New(cfg.Feed)
	if err != nil {
		return made, nil, err
	}
	return made, slices.Concat(made.browser.Routes(), forUsers.Routes(), made.oauth.Routes(), revocations.Routes(), []httpapi.Route{
		httpapi.Get("/livez", httpapi.Live),
		httpapi.Get("/healthz", httpapi.Live),
		httpapi.Get("/readyz", func(w http.ResponseWriter, r *http.Request) error {
			return httpapi.Ready(w, r, cfg.Readiness(r.Context()))
		}),
	}), nil
}

// newRouter registers every path without its trailing slash: [httpapi.Middleware] has cut it off.
func newRouter(routes []httpapi.Route, guard httpapi.Guard) (*gin.Engine, error) {
	if gin.Mode() == gin.DebugMode {
		gin.SetMode(gin.ReleaseMode)
	}
	e := gin.New()
	e.RedirectTrailingSlash = false
	e.HandleMethodNotAllowed = true
	if err := e.SetTrustedProxies(nil); err != nil { // [httpapi.ClientResolver] finds the client, not gin
		return nil, fmt.Errorf("turning off gin's trusted proxies: %w", err)
	}
	e.NoRoute(handle(func(http.ResponseWriter, *http.Request) error { return httpapi.NotFound() }))
	e.NoMethod(handle(func(http.ResponseWriter, *http.Request) error {
		return &broker.Error{Code: httpapi.CodeMethodNotAllowed, Message: "this path does not support this method; the header Allow has those that it supports"}
	}))
	for _, route := range routes {
		endpoint := guard.Wrap(route.Path, route.Endpoint)
		if route.Wrap != nil {
			endpoint = route.Wrap(endpoint)
		}
		guarded := handle(endpoint)
		for _, method := range route.Methods {
			e.Handle(method, route.Path, guarded)
		}
	}
	return e, nil
}

// handle adapts an endpoint to gin. The endpoint does not see gin's context, which is reused.
// Unless it sets another Cache-Control, its answer, also a refusal, stays out of every cache
// (RFC 6749 §5.1).
func handle(f httpapi.Endpoint) gin.HandlerFunc {
	return func(c *gin.Context) {
		entry := httpapi.EntryOf(c.Request)
		if route := c.FullPath(); route != "" {
			entry.Route = route
		}
		for _, p := range c.Params {
			c.Request.SetPathValue(p.Key, p.Value)
		}
		c.Writer.Header().Set("Cache-Control", "no-store")
		if err := f(c.Writer, c.Request); err != nil {
			httpapi.Fail(c.Writer, c.Request, err)
		}
	}
}
