// Package admin serves the operators: /admin/v1, metrics and health on their own listeners, a unix
// socket and a TCP address, behind a guard that checks Host, Origin and token.
package admin

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"path"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

// Operators is the set of operators' use cases. The broker implements it. A ref is a uid or a local
// user name. Errors are [*broker.Error] where the caller may know the reason.
type Operators interface {
	AddUser(ctx context.Context, user operator.NewUser, req broker.Request) (operator.UserInfo, error)
	User(ctx context.Context, ref string) (operator.UserInfo, error)
	ListUsers(ctx context.Context, q operator.UserQuery) (operator.UserPage, error)
	UpdateUser(ctx context.Context, ref string, change operator.UserChange, req broker.Request) (operator.UserInfo, error)
	// SetPassword also ends the user's sessions, unless keepSessions.
	SetPassword(ctx context.Context, ref, password string, keepSessions bool, req broker.Request) (operator.Revoked, error)
	// DisableUser and RemoveUser end the user's sessions and tokens everywhere.
	DisableUser(ctx context.Context, ref string, req broker.Request) (operator.Revoked, error)
	EnableUser(ctx context.Context, ref string, req broker.Request) (operator.UserInfo, error)
	RemoveUser(ctx context.Context, ref string, req broker.Request) (operator.Revoked, error)

	ListSessions(ctx context.Context, q operator.SessionQuery) (operator.SessionPage, error)
	// RevokeSession ends one session and its tokens.
	RevokeSession(ctx context.Context, sid string, reason string, req broker.Request) (operator.Revoked, error)

	// RevokeUser ends everything that a user has, RevokeToken one access token, RevokeClient
	// everything of a client with its sessions, and RevokeEverybody everything.
	RevokeUser(ctx context.Context, ref string, reason string, req broker.Request) (operator.Revoked, error)
	RevokeToken(ctx context.Context, jti string, reason string, req broker.Request) (operator.Revoked, error)
	RevokeClient(ctx context.Context, id string, reason string, req broker.Request) (operator.Revoked, error)
	RevokeEverybody(ctx context.Context, reason string, req broker.Request) (operator.Revoked, error)
	RevokeBulk(ctx context.Context, bulk operator.BulkRevocation, req broker.Request) (operator.BulkRevoked, error)
	// CheckRevocation returns whether a value is revoked, and by what.
	CheckRevocation(ctx context.Context, kind revocation.Kind, value string) (operator.RevocationCheck, error)
	// RevokeKey marks a signing key compromised: its tokens end everywhere, but its sessions continue.
	RevokeKey(ctx context.Context, kid string, reason string, req broker.Request) (operator.KeyRevoked, error)
}

// Revocations lists what is revoked, a page at a time: up to limit events after a place in
// their order ("" is the start), and the place for the next call, "" at the end.
type Revocations interface {
	List(ctx context.Context, after string, limit int) (events []revocation.Event, next string, err error)
}

// Config is the configuration of the operators' handler. If a field is nil, requests for its paths are
// answered with 404.
type Config struct {
	Operators   Operators
	Clients     Clients
	Revocations Revocations
	// Keys needs Operators, JWKS and FeedJWKS as well.
	Keys           Keys
	JWKS, FeedJWKS httpapi.Document
	// Watching answers GET /admin/v1/watch.
	Watching Watching
	// Status answers GET /admin/v1/status. Its lists are not nil.
	Status func(ctx context.Context) Status
	// Backup answers GET /admin/v1/backup.
	Backup Backup
	// Readiness returns the checks for each GET /readyz.
	Readiness func(ctx context.Context) []httpapi.Check
	// Guard is called once for each endpoint and may refuse its requests, after those without an operator were.
	// If nil, none is refused.
	Guard httpapi.Guard
	// Metrics answers GET /metrics.
	Metrics http.Handler
	// Token is the bearer token of every request whose context names no operator. If empty, all of
	// those are refused.
	Token string
	// MetricsToken is another bearer token that is valid only for GET /metrics. If empty, there is none.
	MetricsToken string
	// Hosts are the Host headers that are answered, without a port. They keep out a page that
	// rebinds its name to this address. If empty, they are [DefaultHosts].
	Hosts []string
	// Logger receives one line per request. If nil, slog.Default is used.
	Logger *slog.Logger
	// Audit receives the audit lines. If nil, Logger is used.
	Audit *slog.Logger
	// Observe is called after each request with the route's pattern or "unmatched", never with a
	// path. It may be nil.
	Observe func(route, method string, status int, d time.Duration)
}

// handler holds what the operators' endpoints share. Except for the mutex, it is read-only after [New].
type handler struct {
	cfg       Config
	hosts     map[string]bool
	token     tokenHash
	scraper   tokenHash // of the metrics token
	mux       *http.ServeMux
	unmatched http.Handler
	backingUp sync.Mutex // held while a backup is read
}

// route is a path of the operators' handler.
type route struct {
	pattern string
	// An open path needs no operator; a scraped one also accepts the metrics token.
	open    bool
	scraped bool
	methods map[string]httpapi.Endpoint
}

// DefaultHosts returns the hosts of a [Config] that has none.
func DefaultHosts() []string { return []string{"127.0.0.1", "::1", "localhost"} }

// New returns the handler of the operators' listeners: /admin/v1, /metrics, and /livez
// and /readyz, which need no operator. The operator is the one that the context of a request
// names ([WithOperator], for the unix socket), or the holder of the token. It is safe for
// concurrent use.
func New(cfg Config) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Audit = cmp.Or(cfg.Audit, cfg.Logger)
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = DefaultHosts()
	}
	a := &handler{cfg: cfg, hosts: make(map[string]bool, len(cfg.Hosts)), token: hashOf(cfg.Token), scraper: hashOf(cfg.MetricsToken), mux: http.NewServeMux()}
	for _, h := range cfg.Hosts {
		a.hosts[strings.ToLower(strings.Trim(h, "[]"))] = true
	}
	for _, route := range a.routes() {
		for method, f := range route.methods {
			route.methods[method] = cfg.Guard.Wrap(route.pattern, f)
		}
		a.mux.Handle(route.pattern, a.serve(route))
	}
	a.unmatched = a.serve(route{pattern: "unmatched"})
	a.mux.Handle("/", a.unmatched)
	return httpapi.Middleware{
		Logger: cfg.Logger, Observe: cfg.Observe,
		TrustRequestID: func(r *http.Request) bool { return operatorOf(r) != "" },
	}.Wrap(a)
}

func get(pattern string, f httpapi.Endpoint) route {
	return route{pattern: pattern, methods: map[string]httpapi.Endpoint{http.MethodGet: f}}
}

func post(pattern string, f httpapi.Endpoint) route {
	return route{pattern: pattern, methods: map[string]httpapi.Endpoint{http.MethodPost: f}}
}

// routes are the paths, without a trailing slash: [httpapi.Middleware] has cut it off.
func (a *handler) routes() []route {
	routes := []route{{pattern: "/livez", open: true, methods: map[string]httpapi.Endpoint{http.MethodGet: httpapi.Live}}}
	if a.cfg.Readiness != nil {
		routes = append(routes, route{pattern: "/readyz", open: true, methods: map[string]httpapi.Endpoint{http.MethodGet: a.ready}})
	}
	if a.cfg.Metrics != nil {
		metrics := get("/metrics", a.metrics)
		metrics.scraped = true
		routes = append(routes, metrics)
	}
	if a.cfg.Status != nil {
		routes = append(routes, get("/admin/v1/status", a.status))
	}
	if a.cfg.Watching != nil {
		routes = append(routes, get("/admin/v1/watch", a.watch))
	}
	if a.cfg.Backup != nil {
		routes = append(routes, get("/admin/v1/backup", a.backup))
	}
	revocations := map[string]httpapi.Endpoint{}
	if a.cfg.Revocations != nil {
		revocations[http.MethodGet] = a.listRevocations
	}
	if a.cfg.Operators != nil {
		revocations[http.MethodPost] = a.revoke
		routes = append(routes, get("/admin/v1/revocations/check", a.checkRevocation), post("/admin/v1/revocations/bulk", a.revokeBulk))
		routes = append(routes, a.userRoutes()...)
		routes = append(routes, a.sessionRoutes()...)
	}
	if a.cfg.Clients != nil {
		routes = append(routes, a.clientRoutes()...)
	}
	if a.cfg.Keys != nil {
		routes = append(routes, a.keyRoutes()...)
	}
	if len(revocations) > 0 {
		routes = append(routes, route{pattern: "/admin/v1/revocations", methods: revocations})
	}
	return routes
}

// ServeHTTP answers 404 for every path that the mux would redirect or that is not UTF-8.
func (a *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.EscapedPath(); !strings.HasPrefix(p, "/") || path.Clean(p) != p || !utf8.ValidString(r.URL.Path) {
		a.unmatched.ServeHTTP(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// serve returns the handler of one route: the guard, the method, the endpoint. No cache may
// keep the answer.
func (a *handler) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := httpapi.EntryOf(r)
		x.Route = rt.pattern
		w.Header().Set("Cache-Control", "no-store")
		operator, err := a.admit(r, rt)
		x.Operator = operator
		if err != nil {
			httpapi.Fail(w, r, err)
			a.audit(w, r, "admin_refused")
			return
		}
		if !rt.open && r.Method != http.MethodGet && r.Method != http.MethodHead {
			defer a.auditCall(w, r)
		}
		if err := rt.endpoint(w, r); err != nil {
			httpapi.Fail(w, r, err)
		}
	})
}

// endpoint calls the endpoint of the request's method; HEAD is answered by that of GET.
func (rt route) endpoint(w http.ResponseWriter, r *http.Request) error {
	if len(rt.methods) == 0 {
		return httpapi.NotFound()
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if f := rt.methods[method]; f != nil {
		return f(w, r)
	}
	var allow []string
	for m := range rt.methods {
		allow = append(allow, m)
		if m == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	sort.Strings(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	return &broker.Error{Code: httpapi.CodeMethodNotAllowed, Message: "this path supports " + strings.Join(allow, ", ")}
}
