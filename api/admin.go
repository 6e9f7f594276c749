package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"tokenbroker/broker"
)

// AdminConfig is what the operators' handler needs.
type AdminConfig struct {
	// Metrics answers GET /metrics.
	Metrics http.Handler
	// Token is the bearer token that /metrics always requires; without one, nothing opens it.
	Token string
	// Hosts are the Host headers that are answered, without a port, which keeps a page that
	// rebinds its name to this address out. Default: 127.0.0.1, ::1 and localhost.
	Hosts []string
	// Logger gets one line a request; slog.Default() by default.
	Logger *slog.Logger
}

// NewAdmin makes the handler of the operators' listener: /metrics, and /livez without a
// token. It is safe for concurrent use.
func NewAdmin(cfg AdminConfig) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = []string{"127.0.0.1", "::1", "localhost"}
	}
	hosts := make(map[string]bool, len(cfg.Hosts))
	for _, h := range cfg.Hosts {
		hosts[strings.ToLower(h)] = true
	}
	want := sha256.Sum256([]byte(cfg.Token))

	metrics := func(w http.ResponseWriter, r *http.Request) error {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		same := subtle.ConstantTimeCompare(got[:], want[:]) == 1
		if cfg.Token == "" || !strings.EqualFold(scheme, "Bearer") || !same {
			return &broker.Error{Code: CodeUnauthorized, Message: "want the admin token as a bearer token"}
		}
		if cfg.Metrics == nil {
			return &broker.Error{Code: CodeNotFound, Message: "there are no metrics"}
		}
		cfg.Metrics.ServeHTTP(w, r)
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", adminEndpoint("/metrics", metrics))
	mux.Handle("/livez", adminEndpoint("/livez", live))
	mux.Handle("/", adminEndpoint("unmatched", func(http.ResponseWriter, *http.Request) error {
		return &broker.Error{Code: CodeNotFound, Message: "there is nothing at this path"}
	}))
	return observed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts[hostOf(r)] {
			fail(w, r, &broker.Error{Code: CodeUnknownHost, Message: "this listener does not answer to that host"})
			return
		}
		mux.ServeHTTP(w, r)
	}), cfg.Logger, nil)
}

// adminEndpoint takes GET and HEAD and keeps the answer out of caches.
func adminEndpoint(route string, f endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchangeOf(r).route = route
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead && route != "unmatched" {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, r, &broker.Error{Code: CodeMethodNotAllowed, Message: "this path takes GET and HEAD"})
			return
		}
		if err := f(w, r); err != nil {
			fail(w, r, err)
		}
	})
}

// hostOf is the Host header in lower case without port and brackets.
func hostOf(r *http.Request) string {
	host := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}
