package httpauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

// verdicts answers by the token's text.
type verdicts map[string]error

func (v verdicts) Validate(_ context.Context, token string, _ ...validator.Option) (*validator.Claims, error) {
	err, known := v[token]
	switch {
	case !known:
		return nil, fmt.Errorf("%w: unknown", validator.ErrInvalid)
	case err != nil:
		return nil, err
	}
	return &validator.Claims{Subject: "ada", Scope: "hello:read profile"}, nil
}

var fake = verdicts{
	"good":    nil,
	"expired": fmt.Errorf("%w: detail", validator.ErrExpired),
	"revoked": fmt.Errorf("%w: detail", validator.ErrRevoked),
	"stale":   fmt.Errorf("%w: detail", validator.ErrStale),
	"gone":    context.Canceled,
}

func hello(w http.ResponseWriter, r *http.Request) {
	claims, ok := validator.FromContext(r.Context())
	if !ok {
		panic("no claims")
	}
	_, _ = io.WriteString(w, claims.Subject)
}

func serve(r *http.Request, options ...httpauth.Option) *http.Response {
	w := httptest.NewRecorder()
	httpauth.Require(fake, options...)(http.HandlerFunc(hello)).ServeHTTP(w, r)
	return w.Result()
}

func TestEachVerdictHasItsAnswer(t *testing.T) {
	for name, row := range map[string]struct {
		headers   []string
		scopes    []string
		status    int
		code      string
		challenge string
	}{
		"good":            {[]string{"Bearer good"}, nil, 200, "", ""},
		"scheme's case":   {[]string{"bEaReR good"}, nil, 200, "", ""},
		"with its scopes": {[]string{"Bearer good"}, []string{"profile", "hello:read"}, 200, "", ""},
		"expired":         {[]string{"Bearer expired"}, nil, 401, "token_expired", `error="invalid_token", error_description="The access token expired"`},
		"revoked":         {[]string{"Bearer revoked"}, nil, 401, "token_revoked", `error="invalid_token"`},
		"invalid":         {[]string{"Bearer bad"}, nil, 401, "token_invalid", `error="invalid_token"`},
		"two words":       {[]string{"Bearer good good"}, nil, 401, "token_invalid", `error="invalid_token"`},
		"no header":       {nil, nil, 401, "token_missing", `Bearer realm="api"`},
		"no token":        {[]string{"Bearer"}, nil, 401, "token_missing", `Bearer realm="api"`},
		"other scheme":    {[]string{"Basic good"}, nil, 401, "token_missing", `Bearer realm="api"`},
		"two headers":     {[]string{"Bearer good", "Bearer good"}, nil, 400, "invalid_request", `error="invalid_request"`},
		"scope missing":   {[]string{"Bearer good"}, []string{"hello:read", "hello:write"}, 403, "insufficient_scope", `error="insufficient_scope", scope="hello:read hello:write"`},
		"part of a scope": {[]string{"Bearer good"}, []string{"hello"}, 403, "insufficient_scope", `scope="hello"`},
		"stale":           {[]string{"Bearer stale"}, nil, 503, "validator_stale", ""},
		"given up":        {[]string{"Bearer gone"}, nil, 503, "validator_unavailable", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/hello?access_token=good", nil)
			r.Header["Authorization"] = row.headers
			got := serve(r, httpauth.Scope(row.scopes...))
			body, _ := io.ReadAll(got.Body)
			if got.StatusCode != row.status {
				t.Fatalf("status %d, want %d: %s", got.StatusCode, row.status, body)
			}
			challenge := got.Header.Get("WWW-Authenticate")
			if !strings.Contains(challenge, row.challenge) || (row.challenge == "") != (challenge == "") {
				t.Errorf("WWW-Authenticate: %s", challenge)
			}
			if row.code == "token_missing" && strings.Contains(challenge, "error") {
				t.Errorf("a missing token is not an error (RFC 6750 §3.1): %s", challenge)
			}
			if (row.status == 503) != (got.Header.Get("Retry-After") != "") {
				t.Errorf("Retry-After: %q", got.Header.Get("Retry-After"))
			}
			if row.code == "" {
				return
			}
			var problem struct {
				Title, Code string
				Status      int
			}
			if err := json.Unmarshal(body, &problem); err != nil {
				t.Fatal(err)
			}
			if problem.Code != row.code || problem.Status != row.status || problem.Title == "" {
				t.Errorf("the problem is %s", body)
			}
			if ct := got.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type: %s", ct)
			}
			if cc := got.Header.Get("Cache-Control"); cc != "no-store" {
				t.Errorf("Cache-Control: %s", cc)
			}
		})
	}
}

func TestPreflightsAreAnsweredBeforeAuthentication(t *testing.T) {
	const app = "https://app.example.com"
	for name, row := range map[string]struct {
		origin  string
		options []httpauth.Option
		status  int
		allowed string
	}{
		"allowed":           {app, []httpauth.Option{httpauth.AllowOrigins("https://a.example", app)}, 204, app},
		"any":               {app, []httpauth.Option{httpauth.AllowOrigins("*")}, 204, "*"},
		"not allowed":       {"https://evil.example", []httpauth.Option{httpauth.AllowOrigins(app)}, 204, ""},
		"null":              {"null", []httpauth.Option{httpauth.AllowOrigins(app)}, 204, ""},
		"asked for":         {app, []httpauth.Option{httpauth.AllowOriginFunc(func(o string) bool { return o == app })}, 204, app},
		"asked and refused": {"https://evil.example", []httpauth.Option{httpauth.AllowOriginFunc(func(o string) bool { return o == app })}, 204, ""},
		"named besides":     {"https://a.example", []httpauth.Option{httpauth.AllowOrigins("https://a.example"), httpauth.AllowOriginFunc(func(o string) bool { return o == app })}, 204, "https://a.example"},
		"no CORS asked":     {app, nil, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("OPTIONS", "/hello", nil)
			r.Header.Set("Origin", row.origin)
			r.Header.Set("Access-Control-Request-Method", "GET")
			r.Header.Set("Access-Control-Request-Headers", "authorization")
			got := serve(r, row.options...)
			h := got.Header
			if got.StatusCode != row.status || h.Get("Access-Control-Allow-Origin") != row.allowed {
				t.Fatalf("%d, %v", got.StatusCode, h)
			}
			if row.allowed != "" && (h.Get("Access-Control-Allow-Headers") != "authorization" || h.Get("Access-Control-Allow-Methods") != "GET") {
				t.Errorf("%v", h)
			}
			if row.options != nil && !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
				t.Errorf("Vary: %v", h.Values("Vary"))
			}
		})
	}
}

func TestAPreflightMayNameHeadersOnSeveralLines(t *testing.T) {
	r := httptest.NewRequest("OPTIONS", "/hello", nil)
	r.Header.Set("Origin", "https://app.example.com")
	r.Header.Set("Access-Control-Request-Method", "GET")
	r.Header["Access-Control-Request-Headers"] = []string{"authorization,baggage", "traceparent"}
	h := serve(r, httpauth.AllowOrigins("https://app.example.com")).Header
	if got := h.Get("Access-Control-Allow-Headers"); got != "authorization,baggage, traceparent" {
		t.Errorf("allowed: %q", got)
	}
}

func TestErrorsCarryCORSHeaders(t *testing.T) {
	for header, status := range map[string]int{"Bearer expired": 401, "Bearer stale": 503, "": 401, "Bearer good": 200} {
		r := httptest.NewRequest("GET", "/hello", nil)
		r.Header.Set("Origin", "https://app.example.com")
		r.Header.Set("Authorization", header)
		got := serve(r, httpauth.AllowOrigins("https://app.example.com"))
		if got.StatusCode != status || got.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
			t.Errorf("%q: %d, %v", header, got.StatusCode, got.Header)
		}
	}
	// OPTIONS that is not a pre-flight is a request like any other.
	r := httptest.NewRequest("OPTIONS", "/hello", nil)
	r.Header.Set("Origin", "https://app.example.com")
	if got := serve(r, httpauth.AllowOrigins("https://app.example.com")); got.StatusCode != 401 {
		t.Errorf("OPTIONS without a requested method: %d", got.StatusCode)
	}
}

func TestInvalidScopePanics(t *testing.T) {
	for _, bad := range []string{"", "a b", `a"b`, "ä"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", bad)
				}
			}()
			httpauth.Scope(bad)
		}()
	}
}

// demanding is a Validator that is stale for calls with a stricter bound.
type demanding struct{}

func (demanding) Validate(_ context.Context, _ string, options ...validator.Option) (*validator.Claims, error) {
	if len(options) == 1 && options[0] == validator.MaxStaleness(2*time.Second) {
		return nil, validator.ErrStale
	}
	return &validator.Claims{Subject: "ada"}, nil
}

func TestRoutePassesItsBoundToTheValidator(t *testing.T) {
	for want, options := range map[int][]httpauth.Option{
		200: nil,
		503: {httpauth.MaxStaleness(2 * time.Second)},
	} {
		r := httptest.NewRequest("GET", "/hello", nil)
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		httpauth.Require(demanding{}, options...)(http.HandlerFunc(hello)).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
	for _, bad := range []time.Duration{0, -1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was taken", bad)
				}
			}()
			httpauth.MaxStaleness(bad)
		}()
	}
}
