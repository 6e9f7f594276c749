package api_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/api"
	"tokenbroker/broker"
)

func serve(h http.Handler, r *http.Request) *http.Response {
	w := deadlineRecorder{httptest.NewRecorder()}
	h.ServeHTTP(w, r)
	return w.Result()
}

// deadlineRecorder takes the deadlines that streams set, as a connection does.
type deadlineRecorder struct{ *httptest.ResponseRecorder }

func (deadlineRecorder) SetWriteDeadline(time.Time) error { return nil }

func TestDiscoveryNamesOnlyWhatAnswers(t *testing.T) {
	h := newAPI(t, &fake{})
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		res := call(h, "GET", path, "")
		var doc map[string]any
		if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if doc["issuer"] != own || doc["access_token_max_lifetime"] != 300.0 || res.Header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%v %v", doc, res.Header)
		}
		for name, v := range doc {
			if url, ok := v.(string); ok && (strings.HasSuffix(name, "_uri") || strings.HasSuffix(name, "_endpoint")) {
				method, want := "GET", 200
				if name == "introspection_endpoint" {
					method, want = "POST", 400 // a form is wanted
				}
				if got := call(h, method, strings.TrimPrefix(url, own), "").StatusCode; got != want {
					t.Errorf("%s names %s, which answers %d", name, url, got)
				}
			}
		}
	}
}

func TestDocumentsAreConditional(t *testing.T) {
	h := newAPI(t, &fake{})
	tests := []struct {
		path, ifNoneMatch string
		status            int
		etag, cache, body string
	}{
		{"/.well-known/jwks.json", "", 200, `"tag-a"`, "public, max-age=300", `{"keys":["a"]}`},
		{"/revocations/jwks.json", "", 200, `"tag-f"`, "public, max-age=60", `{"keys":["f"]}`},
		{"/.well-known/jwks.json", `"tag-a"`, 304, `"tag-a"`, "public, max-age=300", ""},
		{"/.well-known/jwks.json", `"x", W/"tag-a"`, 304, `"tag-a"`, "public, max-age=300", ""},
		{"/.well-known/jwks.json", `*`, 304, `"tag-a"`, "public, max-age=300", ""},
		{"/.well-known/jwks.json", `"tag"`, 200, `"tag-a"`, "public, max-age=300", `{"keys":["a"]}`},
	}
	for _, tt := range tests {
		headers := []string{}
		if tt.ifNoneMatch != "" {
			headers = append(headers, "If-None-Match: "+tt.ifNoneMatch)
		}
		res := call(h, "GET", tt.path, "", headers...)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != tt.status || res.Header.Get("ETag") != tt.etag || res.Header.Get("Cache-Control") != tt.cache || string(body) != tt.body {
			t.Errorf("%s %s: %d %v %s", tt.path, tt.ifNoneMatch, res.StatusCode, res.Header, body)
		}
	}
}

func TestHeadAnswersWithoutBody(t *testing.T) {
	srv := httptest.NewServer(newAPI(t, &fake{}))
	defer srv.Close()
	for path, length := range map[string]int64{"/.well-known/jwks.json": 14, "/livez": 15, "/readyz/": 18} {
		res, err := srv.Client().Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 || len(body) != 0 || res.ContentLength != length {
			t.Errorf("%s: %d, body %q, length %d", path, res.StatusCode, body, res.ContentLength)
		}
	}
}

func TestRevocations(t *testing.T) {
	const good = "Authorization: Basic ZGVtby1zZXJ2aWNlOmRlbW8tc2VydmljZS1zZWNyZXQ="
	tests := []struct {
		name, query string
		headers     []string
		change      func(*fake)
		status      int
		code        string
	}{
		{"everything", "", []string{good}, nil, 200, ""},
		{"after a position", "?after=o1.5,o2.7", []string{good}, nil, 200, ""},
		{"no credentials", "", nil, nil, 401, "invalid_client"},
		{"wrong secret", "", []string{"Authorization: Basic ZGVtby1zZXJ2aWNlOng="}, nil, 401, "invalid_client"},
		{"a bearer token", "", []string{"Authorization: Bearer x"}, nil, 401, "invalid_client"},
		{"credentials before the position", "?after=%00", nil, func(f *fake) { f.answerErr = badPosition{} }, 401, "invalid_client"},
		{"a bad position", "?after=zz", []string{good}, func(f *fake) { f.answerErr = badPosition{} }, 400, "invalid_position"},
		{"two positions", "?after=a.1&after=a.2", []string{good}, nil, 400, "invalid_position"},
		{"the ledger fails", "", []string{good}, func(f *fake) { f.answerErr = errors.New("disk") }, 500, "internal"},
		{"the ledger is busy", "", []string{good}, func(f *fake) { f.answerErr = &broker.Error{Code: broker.CodeUnavailable} }, 503, "unavailable"},
		{"clients cannot be read", "", []string{good}, func(f *fake) { f.clientErr = errors.New("disk") }, 500, "internal"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{answer: map[string]any{"v": 1, "full": true}}
			if tt.change != nil {
				tt.change(f)
			}
			res := call(newAPI(t, f), "GET", "/revocations"+tt.query, "", tt.headers...)
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("ETag") != "" {
				t.Errorf("headers %v", res.Header)
			}
			if (tt.status == 401) != (res.Header.Get("WWW-Authenticate") == `Basic realm="tokenbroker", charset="UTF-8"`) {
				t.Errorf("challenge %q", res.Header.Get("WWW-Authenticate"))
			}
			if tt.status != 200 {
				want(t, res, tt.status, tt.code)
				return
			}
			wantJSON(t, res, 200, `{"full":true,"v":1}`)
			if f.position != strings.TrimPrefix(tt.query, "?after=") {
				t.Errorf("asked after %q", f.position)
			}
		})
	}
}

func TestReadiness(t *testing.T) {
	f := &fake{checks: []api.Check{{Name: "store", OK: true}, {Name: "nats", OK: true}}}
	h := newAPI(t, f)
	wantJSON(t, call(h, "GET", "/livez", ""), 200, `{"status":"ok"}`)
	wantJSON(t, call(h, "GET", "/readyz", ""), 200, `{"status":"ready"}`)
	wantJSON(t, call(h, "GET", "/readyz?verbose", ""), 200, `{"status":"ready","checks":[{"name":"store","ok":true},{"name":"nats","ok":true}]}`)
	f.checks[1] = api.Check{Name: "nats", OK: true, Degraded: true, Detail: "not connected"}
	wantJSON(t, call(h, "GET", "/readyz", ""), 200, `{"status":"degraded","degraded":["nats"]}`)
	f.checks[0].OK = false
	p := want(t, call(h, "GET", "/readyz/?verbose", ""), 503, "not_ready")
	if p.Detail != "not ready: store" || len(p.Checks) != 2 || p.Checks[1].Detail != "not connected" {
		t.Errorf("problem %+v", p)
	}
	if p := want(t, call(h, "GET", "/readyz", ""), 503, "not_ready"); p.Checks != nil {
		t.Errorf("checks without verbose: %+v", p)
	}
}

func TestDocumentThatIsNotThereYet(t *testing.T) {
	res := call(newAPI(t, &fake{}, func(c *api.Config) { c.JWKS = nullDocument }), "GET", "/.well-known/jwks.json", "")
	want(t, res, 503, "unavailable")
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("cache control %q", res.Header.Get("Cache-Control"))
	}
}

// openapi.yaml is written by hand: it must know every path and every code.
func TestOpenAPIKnowsEveryPathAndCode(t *testing.T) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var paths, codes []string
	for _, m := range regexp.MustCompile(`(?m)^  (/\S*):$`).FindAllStringSubmatch(string(text), -1) {
		paths = append(paths, "/"+strings.Trim(m[1], "/"))
	}
	for _, m := range regexp.MustCompile(`(?m)^            - ([a-z_]+)$`).FindAllStringSubmatch(string(text), -1) {
		codes = append(codes, m[1])
	}
	cfg := config(&fake{})
	cfg.Logins = &fakeLogins{}
	cfg.Stream = &fakeStream{}
	routes, err := api.Routes(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sortStrings(paths)
	if diff := cmp.Diff(routes, paths); diff != "" {
		t.Errorf("paths (-router +openapi):\n%s", diff)
	}
	if diff := cmp.Diff(api.PublicCodes(), codes); diff != "" {
		t.Errorf("codes (-table +openapi):\n%s", diff)
	}
}
