package admin_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestAdmin(t *testing.T) {
	admin := func(token string, hosts ...string) http.Handler {
		return admin.New(admin.Config{
			Token: token, Hosts: hosts, Logger: slog.New(slog.DiscardHandler),
			Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") }),
		})
	}
	tests := []struct {
		name               string
		h                  http.Handler
		method, host, path string
		authorization      string
		status             int
	}{
		{"with the token", admin("t0ken"), "GET", "127.0.0.1:8081", "/metrics", "Bearer t0ken", 200},
		{"scheme in any case, slash", admin("t0ken"), "GET", "localhost", "/metrics/", "bearer t0ken", 200},
		{"IPv6", admin("t0ken"), "GET", "[::1]:8081", "/metrics", "Bearer t0ken", 200},
		{"without", admin("t0ken"), "GET", "127.0.0.1:8081", "/metrics", "", 401},
		{"another token", admin("t0ken"), "GET", "127.0.0.1:8081", "/metrics", "Bearer t0ke", 401},
		{"basic", admin("t0ken"), "GET", "127.0.0.1:8081", "/metrics", "Basic t0ken", 401},
		{"no token configured", admin(""), "GET", "127.0.0.1:8081", "/metrics", "Bearer ", 401},
		{"a rebound name", admin("t0ken"), "GET", "evil.example:8081", "/metrics", "Bearer t0ken", 421},
		{"a rebound name, livez", admin("t0ken"), "GET", "evil.example", "/livez", "", 421},
		{"a configured name", admin("t0ken", "Broker.internal"), "GET", "broker.INTERNAL:8081", "/metrics", "Bearer t0ken", 200},
		{"livez without a token", admin("t0ken"), "GET", "127.0.0.1:8081", "/livez/", "", 200},
		{"POST", admin("t0ken"), "POST", "127.0.0.1:8081", "/metrics", "Bearer t0ken", 405},
		{"elsewhere", admin("t0ken"), "GET", "127.0.0.1:8081", "/auth/sign-in", "Bearer t0ken", 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "http://"+tt.host+tt.path, nil)
			if tt.authorization != "" {
				r.Header.Set("Authorization", tt.authorization)
			}
			res := apitest.Serve(tt.h, r)
			if res.StatusCode != tt.status || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v, want %d", res.StatusCode, res.Header, tt.status)
			}
			if tt.status >= 400 {
				apitest.ReadProblem(t, res)
			}
		})
	}
}

// TestGuardRefusesAfterTheCredentials checks that a guard sees every endpoint by its pattern and only requests
// of operators, unless the path needs none.
func TestGuardRefusesAfterTheCredentials(t *testing.T) {
	h := admin.New(admin.Config{
		Token: "t0ken", Logger: slog.New(slog.DiscardHandler), Metrics: http.NotFoundHandler(),
		Guard: func(path string, _ httpapi.Endpoint) httpapi.Endpoint {
			return func(http.ResponseWriter, *http.Request) error {
				return &broker.Error{Code: broker.CodeUnavailable, Message: "not now: " + path}
			}
		},
	})
	for path, token := range map[string]string{"/metrics": "t0ken", "/livez": ""} {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if p := apitest.Want(t, apitest.Serve(h, r), 503, "unavailable"); p.Detail != "not now: "+path {
			t.Errorf("%s: %q", path, p.Detail)
		}
	}
	apitest.Want(t, apitest.Serve(h, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/metrics", nil)), 401, "unauthorized")
}
