package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/api/internal/apitest"
)

// TestAdminOrderOfRefusal checks the order of refusal: each row also has the faults of the rows after it.
func TestAdminOrderOfRefusal(t *testing.T) {
	big := `{"kind":"x","value":` + strings.Repeat("x", 70<<10)
	const foreign, evil, wrong = "Origin: http://evil.example", "Host: evil.example", "Authorization: Bearer nope"
	text := "Content-Type: text/plain"
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     string
	}{
		{"host", "PUT", "/admin/v1/nothing", big, []string{evil, foreign, wrong, text}, 421, "unknown_host"},
		{"origin", "PUT", "/admin/v1/nothing", big, []string{foreign, wrong, text}, 403, "forbidden_origin"},
		{"token", "PUT", "/admin/v1/nothing", big, []string{wrong, text}, 401, "unauthorized"},
		{"path", "PUT", "/admin/v1/nothing", big, []string{text}, 404, "not_found"},
		{"method", "PUT", "/admin/v1/revocations", big, []string{text}, 405, "method_not_allowed"},
		{"type", "POST", "/admin/v1/revocations", big, []string{text}, 415, "unsupported_media_type"},
		{"size", "POST", "/admin/v1/revocations", big, nil, 413, "body_too_large"},
		{"body", "POST", "/admin/v1/revocations", big[:50], nil, 400, "invalid_body"},
		{"kind", "POST", "/admin/v1/revocations", `{"kind":"kid","value":"x","reason":"revoked"}`, nil, 400, "invalid_revocation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeOperators{}
			res := callAdmin(t, newAdmin(f), tt.method, tt.path, tt.body, tt.headers...)
			apitest.Want(t, res, tt.status, tt.code)
			if f.asked != "" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("asked %q, %v", f.asked, res.Header)
			}
			if challenge := res.Header.Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
}

// The guard checks Host, Origin and token for every path, including unknown paths. /livez and /readyz
// need no token.
func TestAdminGuardChecksEveryPath(t *testing.T) {
	paths := []operation{{method: "GET", path: "/"}, {method: "POST", path: "/nothing"}, {method: "OPTIONS", path: "/admin/v1/users"}, {method: "GET", path: "//metrics"}}
	for _, op := range append(paths, operations()...) {
		refused := map[string][]string{
			"421": {"Host: 10.0.0.1:8081"}, "421 empty": {"Host: "}, "403": {"Origin: http://127.0.0.1:5173"}, "403 null": {"Origin: null"},
		}
		if op.path != "/livez" && !strings.HasPrefix(op.path, "/readyz") {
			refused["401"], refused["401 wrong"] = []string{"Authorization: "}, []string{"Authorization: Bearer t0ken2"}
		}
		for status, headers := range refused {
			f := &fakeOperators{}
			r := adminRequest(t, op.method, op.path, op.body, headers...)
			if headers[0] == "Host: " {
				r.Host = ""
			}
			if res := apitest.Serve(newAdmin(f), r); res.Status[:3] != status[:3] || f.asked != "" || res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s %s: %s, asked %q, want %s", op.method, op.path, res.Status, f.asked, status)
			}
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if res := callAdmin(t, newAdmin(&fakeOperators{}), "GET", path, "", "Authorization: "); res.StatusCode != 200 {
			t.Errorf("%s without a token: %d", path, res.StatusCode)
		}
	}
}

func TestAdminTokens(t *testing.T) {
	tests := []struct {
		name, configured string
		sent             []string
		ok               bool
	}{
		{"the token", "t0ken", []string{"Bearer t0ken"}, true},
		{"scheme in any case", "t0ken", []string{"bEARER t0ken"}, true},
		{"none", "t0ken", nil, false},
		{"empty", "t0ken", []string{""}, false},
		{"a prefix", "t0ken", []string{"Bearer t0ke"}, false},
		{"longer", "t0ken", []string{"Bearer t0kenn"}, false},
		{"another case", "t0ken", []string{"Bearer T0ken"}, false},
		{"two spaces", "t0ken", []string{"Bearer  t0ken"}, false},
		{"bare", "t0ken", []string{"t0ken"}, false},
		{"basic", "t0ken", []string{"Basic t0ken"}, false},
		{"two headers", "t0ken", []string{"Bearer t0ken", "Bearer t0ken"}, false},
		{"no token configured, empty token sent", "", []string{"Bearer "}, false},
		{"no token configured, no token sent", "", nil, false},
		{"no token configured, token sent", "", []string{"Bearer t0ken"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeOperators{}
			r := adminRequest(t, "GET", "/admin/v1/users/ada", "")
			r.Header["Authorization"] = tt.sent
			res := apitest.Serve(newAdmin(f, func(c *admin.Config) { c.Token = tt.configured }), r)
			if tt.ok != (res.StatusCode == 200) || tt.ok != (f.asked != "") {
				t.Fatalf("status %d, asked %q", res.StatusCode, f.asked)
			}
			if !tt.ok {
				apitest.Want(t, res, 401, "unauthorized")
			}
		})
	}
}

func TestAdminOrigins(t *testing.T) {
	for origin, ok := range map[string]bool{
		"http://127.0.0.1:8081": true, "https://127.0.0.1:8081": true, "http://127.0.0.1": false, "http://127.0.0.1:8080": false,
		"http://localhost:8081": false, "null": false, "http://127.0.0.1:8081.evil.example": false, "127.0.0.1:8081": false, "file://": false, "*": false,
	} {
		for _, method := range []string{"GET", "DELETE"} {
			res := callAdmin(t, newAdmin(&fakeOperators{revoked: done()}), method, "/admin/v1/users/ada", "", "Origin: "+origin)
			if ok != (res.StatusCode == 200) {
				t.Errorf("%s from %s: %d", method, origin, res.StatusCode)
			}
			if !ok {
				apitest.Want(t, res, 403, "forbidden_origin")
			}
			if res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("CORS: %v", res.Header)
			}
		}
	}
	r := adminRequest(t, "GET", "/livez", "")
	r.Header["Origin"] = []string{"http://127.0.0.1:8081", "http://127.0.0.1:8081"}
	apitest.Want(t, apitest.Serve(newAdmin(&fakeOperators{}), r), 403, "forbidden_origin")
	if res := callAdmin(t, newAdmin(&fakeOperators{}), "GET", "/livez", "", "Host: localhost:80", "Origin: http://localhost"); res.StatusCode != 200 {
		t.Errorf("the default port: %d", res.StatusCode)
	}
}

// Over the socket the context names the operator: the request needs no token and no Host, and a
// token does not change the name.
func TestAdminOverTheSocket(t *testing.T) {
	f := &fakeOperators{revoked: done()}
	h := newAdmin(f, func(c *admin.Config) { c.Token = "" })
	as := func(name, method, path string, headers ...string) *http.Response {
		r := adminRequest(t, method, path, "", append(headers, "Host: admin")...)
		r.RemoteAddr = "@"
		return apitest.Serve(h, r.WithContext(admin.WithOperator(r.Context(), name)))
	}
	for _, headers := range [][]string{{"Authorization: "}, {"Authorization: Bearer x"}} {
		if res := as("uid 0", "DELETE", "/admin/v1/users/ada", headers...); res.StatusCode != 200 {
			t.Errorf("status %d", res.StatusCode)
		}
		if f.req.Operator != "uid 0" || f.req.Addr != "" || f.req.ID == "" {
			t.Errorf("request %+v", f.req)
		}
	}
	apitest.Want(t, as("uid 0", "GET", "/admin/v1/status", "Origin: http://evil.example"), 403, "forbidden_origin")
	apitest.Want(t, as("", "GET", "/admin/v1/status"), 421, "unknown_host")
	if res := as("uid 0", "GET", "/livez"); res.StatusCode != 200 {
		t.Errorf("livez: %d", res.StatusCode)
	}
}

// auditLine is the log line of a call.
type auditLine struct {
	Level, Msg, Event, Addr, Operator, Route, Method, Code string
	RequestID                                              string `json:"request_id"`
	Status                                                 int
}

func TestAdminAudit(t *testing.T) {
	call := auditLine{Msg: "audit", Event: "admin_call", Addr: "192.0.2.1", Operator: "token"}
	refused := auditLine{Msg: "audit", Event: "admin_refused", Addr: "192.0.2.1"}
	line := func(l auditLine, method, route string, status int, code string) *auditLine {
		l.Method, l.Route, l.Status, l.Code = method, route, status, code
		return &l
	}
	const user = "/admin/v1/users/{ref}"
	tests := []struct {
		name, method, path string
		headers            []string
		change             func(*fakeOperators)
		want               *auditLine
	}{
		{"a call", "DELETE", "/admin/v1/users/secret-1", nil, nil, nil}, // the broker's own event has it
		{"a call that fails", "DELETE", "/admin/v1/users/secret-1", nil, func(f *fakeOperators) { f.err = context.DeadlineExceeded }, line(call, "DELETE", user, 503, "unavailable")},
		{"a call that panics", "DELETE", "/admin/v1/users/secret-1", nil, func(f *fakeOperators) { f.panics = "secret-2" }, line(call, "DELETE", user, 500, "")},
		{"a bad body", "POST", "/admin/v1/users/secret-1/password", nil, nil, line(call, "POST", user+"/password", 400, "invalid_body")},
		{"an unknown method", "secret-3", "/admin/v1/users/secret-1", nil, nil, line(call, "other", user, 405, "method_not_allowed")},
		{"an unknown path", "POST", "/secret-4", nil, nil, line(call, "POST", "unmatched", 404, "not_found")},
		{"reading", "GET", "/admin/v1/users/secret-1", nil, nil, nil},
		{"HEAD", "HEAD", "/admin/v1/users/secret-1", nil, nil, nil},
		{"alive", "GET", "/livez", []string{"Authorization: "}, nil, nil},
		{"POST to an open path", "POST", "/livez", []string{"Authorization: "}, nil, nil},
		{"a wrong token", "GET", "/admin/v1/users/secret-1", []string{"Authorization: Bearer secret-5"}, nil, line(refused, "GET", user, 401, "unauthorized")},
		{"a wrong token for an unknown path", "DELETE", "/secret-6", []string{"Authorization: Bearer secret-5"}, nil, line(refused, "DELETE", "unmatched", 401, "unauthorized")},
		{"a rebound name", "GET", "/livez", []string{"Host: secret-7.example"}, nil, line(refused, "GET", "/livez", 421, "unknown_host")},
		{"another site's page", "POST", "/admin/v1/users", []string{"Origin: http://secret-8.example"}, nil, line(refused, "POST", "/admin/v1/users", 403, "forbidden_origin")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeOperators{}
			if tt.change != nil {
				tt.change(f)
			}
			var log bytes.Buffer
			h := newAdmin(f, func(c *admin.Config) {
				c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			id := callAdmin(t, h, tt.method, tt.path, "", tt.headers...).Header.Get("X-Request-Id")
			if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), adminToken) {
				t.Errorf("the log contains a secret:\n%s", &log)
			}
			var got []auditLine
			requests := 0
			for text := range strings.Lines(log.String()) {
				var l auditLine
				if err := json.Unmarshal([]byte(text), &l); err != nil {
					t.Fatal(err)
				}
				switch l.Msg {
				case "audit":
					got = append(got, l)
				case "request":
					requests++
					if (tt.want != nil || tt.name == "a call") && (l.Level == "INFO" || l.Level == "DEBUG" && l.Status >= 500) {
						t.Errorf("another line about the same call: %s", text)
					}
				}
			}
			if requests != 1 {
				t.Errorf("%d request lines", requests)
			}
			if tt.want == nil {
				if len(got) != 0 {
					t.Errorf("audited %+v", got)
				}
				return
			}
			want := *tt.want
			want.RequestID, want.Level = id, "INFO"
			if len(got) != 1 || got[0] != want {
				t.Errorf("audited %+v\nwant     %+v", got, want)
			}
		})
	}
}

// The peer of the unix socket is known; a peer of the TCP listener could use another call's id.
func TestAdminRequestIDIsTheOperatorsOnTheSocket(t *testing.T) {
	for operator, taken := range map[string]bool{"": false, "uid 0": true} {
		r := adminRequest(t, "GET", "/livez", "", "X-Request-Id: id-1")
		res := apitest.Serve(newAdmin(&fakeOperators{}), r.WithContext(admin.WithOperator(t.Context(), operator)))
		if id := res.Header.Get("X-Request-Id"); id == "" || (id == "id-1") != taken {
			t.Errorf("operator %q: id %q, taken: want %v", operator, id, taken)
		}
	}
}

// The metrics token is valid for GET /metrics and for no call of an operator.
func TestMetricsTokenIsValidOnlyForMetrics(t *testing.T) {
	const scraper = "a-token-for-a-scraper"
	h := newAdmin(&fakeOperators{}, func(cfg *admin.Config) { cfg.MetricsToken = scraper })
	for _, op := range append(operations(), operation{method: "GET", path: "/nothing"}) {
		if op.path == "/livez" || strings.HasPrefix(op.path, "/readyz") {
			continue
		}
		res := callAdmin(t, h, op.method, op.path, op.body, "Authorization: Bearer "+scraper)
		if opened := res.StatusCode != 401; opened != (op.path == "/metrics") {
			t.Errorf("%s %s: %d", op.method, op.path, res.StatusCode)
		}
	}
	if res := callAdmin(t, h, "GET", "/metrics", ""); res.StatusCode != 200 {
		t.Errorf("the operators' token: %d", res.StatusCode)
	}
	for _, token := range []string{"", "Bearer ", "Bearer " + scraper} {
		if res := callAdmin(t, newAdmin(&fakeOperators{}), "GET", "/metrics", "", "Authorization: "+token); res.StatusCode != 401 {
			t.Errorf("%q without a metrics token: %d", token, res.StatusCode)
		}
	}
}
