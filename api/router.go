package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/gin-gonic/gin"

	"tokenbroker/broker"
)

// Public is the public handler. Safe for concurrent use.
type Public struct {
	http.Handler
	server *server
}

// SetOrigins replaces the allowed origins of the SPAs from the next request on; with an
// error those in force stay.
func (p *Public) SetOrigins(configured []string) error {
	allowed, err := newOrigins(p.server.cfg.Issuer, configured, p.server.cfg.InsecureDevelopment)
	if err != nil {
		return err
	}
	p.server.allowed.Store(allowed)
	p.server.fallback.Store(fallbackHome(configured))
	return nil
}

// Origins are the SPAs' origins in force, with the broker's own.
func (p *Public) Origins() []string { return slices.Sorted(maps.Keys(p.server.origins().named)) }

// Allows reports whether pages of an origin, as browsers write it, may call.
func (p *Public) Allows(origin string) bool { return p.server.origins().has(origin) }

// server holds what the endpoints share. It is read-only after [New], but for allowed and
// fallback.
type server struct {
	cfg       Config
	forwarded *forwarded
	allowed   atomic.Pointer[origins]
	// fallback is where a page leads back to if cfg.HomeURL is empty.
	fallback atomic.Pointer[string]
	cookie   refreshCookie
	logins   attemptCookies // Lax, because the provider sends the browser back
	nonces   attemptCookies
}

// endpoint answers a request, or returns why it does not and has written nothing but
// headers; [fail] then writes the problem.
type endpoint func(w http.ResponseWriter, r *http.Request) error

// New makes the public handler. It is safe for concurrent use, starts no goroutine and
// needs no closing. It puts gin, which knows one mode per process, into release mode
// unless the process chose another than gin's default.
func New(cfg Config) (*Public, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuring the HTTP surface: %w", err)
	}
	allowed, err := newOrigins(cfg.Issuer, cfg.Origins, cfg.InsecureDevelopment)
	if err != nil {
		return nil, fmt.Errorf("configuring the HTTP surface: %w", err)
	}
	s := &server{cfg: cfg, cookie: refreshCookie{cfg.Cookie},
		logins: newAttemptCookies("tb_login_", cfg.Cookie.Insecure, http.SameSiteLaxMode, broker.LoginLife),
		nonces: newAttemptCookies("tb_nonce_", cfg.Cookie.Insecure, http.SameSiteStrictMode, broker.NonceLife),
	}
	s.allowed.Store(allowed)
	s.fallback.Store(fallbackHome(cfg.Origins))
	if cfg.HomeURL != "" {
		if _, err := allowed.checkReturn(cfg.HomeURL); err != nil {
			return nil, fmt.Errorf("configuring the HTTP surface: home URL %q: want a URL of the broker's own or a configured origin", cfg.HomeURL)
		}
	}
	trusted, err := ParseProxies(cfg.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("configuring the HTTP surface: reading the trusted proxies: %w", err)
	}
	router, err := s.routes()
	if err != nil {
		return nil, fmt.Errorf("configuring the HTTP surface: %w", err)
	}
	s.forwarded = newForwarded(trusted, cfg.Logger)
	outer := surface{
		logger: cfg.Logger, observe: cfg.Observe, https: strings.HasPrefix(strings.ToLower(cfg.Issuer), "https:"),
		sender: s.forwarded.sender, trusts: func(_ *http.Request, from sender) bool { return from.trusted },
		home: s.home,
	}
	return &Public{Handler: observed(s.cors(router), outer), server: s}, nil
}

func (s *server) origins() *origins { return s.allowed.Load() }

// home is where a login without return_to ends and where pages lead back to.
func (s *server) home() string { return cmp.Or(s.cfg.HomeURL, *s.fallback.Load()) }

// fallbackHome is the first SPA's root, or without one the broker's own.
func fallbackHome(configured []string) *string {
	home := "/"
	if len(configured) > 0 {
		home = strings.TrimSuffix(configured[0], "/") + "/"
	}
	return &home
}

// routes registers every path without its trailing slash: [observed] has cut it off.
func (s *server) routes() (*gin.Engine, error) {
	if gin.Mode() == gin.DebugMode {
		gin.SetMode(gin.ReleaseMode)
	}
	e := gin.New()
	e.RedirectTrailingSlash = false
	e.HandleMethodNotAllowed = true
	if err := e.SetTrustedProxies(nil); err != nil { // [observed] finds the client, not gin
		return nil, fmt.Errorf("turning off gin's trusted proxies: %w", err)
	}
	e.NoRoute(handle(func(http.ResponseWriter, *http.Request) error { return nothingHere() }))
	e.NoMethod(handle(func(http.ResponseWriter, *http.Request) error {
		return &broker.Error{Code: CodeMethodNotAllowed, Message: "this path does not take this method; Allow names those it takes"}
	}))

	auth := func(f endpoint) gin.HandlerFunc { return handle(noStore(f)) }
	e.POST("/auth/sign-in", auth(s.signIn))
	e.POST("/auth/refresh", auth(s.refresh))
	e.POST("/auth/logoff", auth(s.logOff))
	e.POST("/auth/verify", auth(s.verify))
	get := func(path string, f endpoint) {
		e.GET(path, handle(f))
		e.HEAD(path, handle(f))
	}
	get("/auth/session", noStore(s.session))
	get("/auth/verify", noStore(s.gateway))
	if s.cfg.Logins != nil {
		e.GET("/auth/login", auth(s.login))
		e.GET("/auth/callback/:provider", auth(s.callback))
		e.GET("/auth/exchange-nonce", auth(s.exchangeNonce))
		e.POST("/auth/social-exchange", auth(s.socialExchange))
	}
	get("/.well-known/openid-configuration", s.discovery)
	get("/.well-known/oauth-authorization-server", s.discovery)
	get("/.well-known/jwks.json", s.jwks(s.cfg.JWKS))
	e.POST("/oauth2/introspect", auth(oauth(s.introspect)))
	get("/revocations", noStore(s.revocations))
	if s.cfg.Stream != nil {
		e.GET("/revocations/stream", handle(noStore(s.stream)))
	}
	if s.cfg.Receipts != nil {
		e.POST("/revocations/receipt", handle(noStore(s.receipt)))
	}
	get("/revocations/jwks.json", s.jwks(s.cfg.FeedJWKS))
	if err := s.files(get); err != nil {
		return nil, err
	}
	get("/livez", noStore(live))
	get("/healthz", noStore(live))
	get("/readyz", noStore(s.ready))
	return e, nil
}

func nothingHere() error {
	return &broker.Error{Code: CodeNotFound, Message: "there is nothing at this path"}
}

// handle is the border to gin: no endpoint sees its context, which is reused.
func handle(f endpoint) gin.HandlerFunc {
	return func(c *gin.Context) {
		x := exchangeOf(c.Request)
		if route := c.FullPath(); route != "" {
			x.route = route
		}
		for _, p := range c.Params {
			c.Request.SetPathValue(p.Key, p.Value)
		}
		if err := f(c.Writer, c.Request); err != nil {
			fail(c.Writer, c.Request, err)
		}
	}
}

// noStore keeps an answer, also a refusal, out of every cache (RFC 6749 §5.1).
func noStore(f endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		return f(w, r)
	}
}
