package api

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

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// Revocations lists what is revoked, a page at a time: up to limit events after a place in
// their order ("" is the start), and the place to ask with next, "" at the end.
type Revocations interface {
	List(ctx context.Context, after string, limit int) (events []revocation.Event, next string, err error)
}

// AdminConfig is what the operators' handler needs. What is nil has no path: 404.
type AdminConfig struct {
	Operators   Operators
	Revocations Revocations
	// Keys needs Operators, JWKS and FeedJWKS beside it.
	Keys           Keys
	JWKS, FeedJWKS Document
	// Watching answers GET /admin/v1/watch.
	Watching Watching
	// Status answers GET /admin/v1/status. Its lists are not nil.
	Status func(ctx context.Context) Status
	// Backup answers GET /admin/v1/backup.
	Backup Backup
	// Readiness is asked at each GET /readyz.
	Readiness func(ctx context.Context) []Check
	// Metrics answers GET /metrics.
	Metrics http.Handler
	// Token is the bearer token of every request whose context names no operator; without
	// one, nothing opens to those.
	Token string
	// MetricsToken opens GET /metrics beside Token, and nothing else; "" for none.
	MetricsToken string
	// Hosts are the Host headers that are answered, without a port, which keeps a page that
	// rebinds its name to this address out. Default: 127.0.0.1, ::1 and localhost.
	Hosts []string
	// Logger receives one line a request. If nil, slog.Default() does.
	Logger *slog.Logger
	// Audit receives the audit lines. If nil, Logger does.
	Audit *slog.Logger
	// Observe, when set, is told of each request: the route's pattern or "unmatched", never a path.
	Observe func(route, method string, status int, d time.Duration)
}

// admin holds what the operators' endpoints share. But for the mutex it is read-only after [NewAdmin].
type admin struct {
	cfg       AdminConfig
	hosts     map[string]bool
	token     tokenHash
	scraper   tokenHash // of the metrics token
	mux       *http.ServeMux
	unmatched http.Handler
	backingUp sync.Mutex // held while a backup is read
}

// adminRoute is a path of the operators' handler.
type adminRoute struct {
	pattern string
	// open paths need no operator; scraped ones take the metrics token, too.
	open    bool
	scraped bool
	methods map[string]endpoint
}

// DefaultAdminHosts returns the hosts of an [AdminConfig] that has none.
func DefaultAdminHosts() []string { return []string{"127.0.0.1", "::1", "localhost"} }

// NewAdmin makes the handler of the operators' listeners: /admin/v1, /metrics, and /livez
// and /readyz that need no operator. Who asks is told by the context of a request
// ([WithOperator], for the unix socket), or else holds the token. It is safe for
// concurrent use.
func NewAdmin(cfg AdminConfig) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Audit = cmp.Or(cfg.Audit, cfg.Logger)
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = DefaultAdminHosts()
	}
	a := &admin{cfg: cfg, hosts: make(map[string]bool, len(cfg.Hosts)), token: hashOf(cfg.Token), scraper: hashOf(cfg.MetricsToken), mux: http.NewServeMux()}
	for _, h := range cfg.Hosts {
		a.hosts[strings.ToLower(strings.Trim(h, "[]"))] = true
	}
	for _, route := range a.routes() {
		a.mux.Handle(route.pattern, a.serve(route))
	}
	a.unmatched = a.serve(adminRoute{pattern: "unmatched"})
	a.mux.Handle("/", a.unmatched)
	return observed(a, surface{
		logger: cfg.Logger, observe: cfg.Observe, sender: Proxies(nil).sender,
		trusts: func(r *http.Request, _ sender) bool { return operatorOf(r) != "" },
	})
}

// routes are the paths, without a trailing slash: [observed] has cut it off.
func (a *admin) routes() []adminRoute {
	get := func(pattern string, f endpoint) adminRoute {
		return adminRoute{pattern: pattern, methods: map[string]endpoint{http.MethodGet: f}}
	}
	routes := []adminRoute{{pattern: "/livez", open: true, methods: map[string]endpoint{http.MethodGet: live}}}
	if a.cfg.Readiness != nil {
		routes = append(routes, adminRoute{pattern: "/readyz", open: true, methods: map[string]endpoint{http.MethodGet: a.ready}})
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
	revocations := map[string]endpoint{}
	if a.cfg.Revocations != nil {
		revocations[http.MethodGet] = a.listRevocations
	}
	if a.cfg.Operators != nil {
		revocations[http.MethodPost] = a.revoke
		routes = append(routes, get("/admin/v1/revocations/check", a.checkRevocation), adminRoute{
			pattern: "/admin/v1/revocations/bulk", methods: map[string]endpoint{http.MethodPost: a.revokeBulk},
		})
		routes = append(routes, a.userRoutes()...)
		routes = append(routes, a.sessionRoutes()...)
	}
	if a.cfg.Keys != nil {
		routes = append(routes, a.keyRoutes()...)
	}
	if len(revocations) > 0 {
		routes = append(routes, adminRoute{pattern: "/admin/v1/revocations", methods: revocations})
	}
	return routes
}

// ServeHTTP keeps every path that the mux would redirect, or that is no text, away from it.
func (a *admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.EscapedPath(); !strings.HasPrefix(p, "/") || path.Clean(p) != p || !utf8.ValidString(r.URL.Path) {
		a.unmatched.ServeHTTP(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// serve is the way of a request of one route: the guard, the method, the endpoint. The
// answer stays out of caches.
func (a *admin) serve(route adminRoute) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r)
		x.route = route.pattern
		w.Header().Set("Cache-Control", "no-store")
		operator, err := a.admit(r, route)
		x.operator = operator
		if err != nil {
			fail(w, r, err)
			a.audit(w, r, "admin_refused")
			return
		}
		if !route.open && r.Method != http.MethodGet && r.Method != http.MethodHead {
			defer a.auditCall(w, r)
		}
		if err := route.endpoint(w, r); err != nil {
			fail(w, r, err)
		}
	})
}

// endpoint calls the one of the request's method; HEAD is GET's.
func (route adminRoute) endpoint(w http.ResponseWriter, r *http.Request) error {
	if len(route.methods) == 0 {
		return &broker.Error{Code: CodeNotFound, Message: "there is nothing at this path"}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if f := route.methods[method]; f != nil {
		return f(w, r)
	}
	var allow []string
	for m := range route.methods {
		allow = append(allow, m)
		if m == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	sort.Strings(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	return &broker.Error{Code: CodeMethodNotAllowed, Message: "this path takes " + strings.Join(allow, ", ")}
}
