package feed_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
	"tokenbroker/internal/pipehttp"
	"tokenbroker/revocation"
)

func TestRevocations(t *testing.T) {
	tests := []struct {
		name, query string
		headers     []string
		change      func(*apitest.Fake)
		status      int
		code        string
	}{
		{"everything", "", []string{apitest.DemoService}, nil, 200, ""},
		{"after a position", "?after=o1.5,o2.7", []string{apitest.DemoService}, nil, 200, ""},
		{"no credentials", "", nil, nil, 401, "invalid_client"},
		{"wrong secret", "", []string{"Authorization: Basic ZGVtby1zZXJ2aWNlOng="}, nil, 401, "invalid_client"},
		{"a bearer token", "", []string{"Authorization: Bearer x"}, nil, 401, "invalid_client"},
		{"credentials before the position", "?after=%00", nil, func(f *apitest.Fake) { f.CatchupErr = &broker.Error{Code: httpapi.CodeInvalidPosition} }, 401, "invalid_client"},
		{"a bad position", "?after=zz", []string{apitest.DemoService}, func(f *apitest.Fake) { f.CatchupErr = &broker.Error{Code: httpapi.CodeInvalidPosition} }, 400, "invalid_position"},
		{"two positions", "?after=a.1&after=a.2", []string{apitest.DemoService}, nil, 400, "invalid_position"},
		{"a version that is not a number", "?speaks=two", []string{apitest.DemoService}, nil, 400, "invalid_parameter"},
		{"a version above the highest", "?speaks=1001", []string{apitest.DemoService}, nil, 400, "invalid_parameter"},
		{"a version of zero", "?speaks=0", []string{apitest.DemoService}, nil, 400, "invalid_parameter"},
		{"two versions", "?speaks=1&speaks=2", []string{apitest.DemoService}, nil, 400, "repeated_parameter"},
		{"an outdated service", "", []string{apitest.DemoService}, func(f *apitest.Fake) { f.CatchupErr = &broker.Error{Code: httpapi.CodeProtocolOutdated} }, 406, "protocol_outdated"},
		{"the ledger fails", "", []string{apitest.DemoService}, func(f *apitest.Fake) { f.CatchupErr = errors.New("disk") }, 500, "internal"},
		{"the ledger is busy", "", []string{apitest.DemoService}, func(f *apitest.Fake) { f.CatchupErr = &broker.Error{Code: broker.CodeUnavailable} }, 503, "unavailable"},
		{"clients cannot be read", "", []string{apitest.DemoService}, func(f *apitest.Fake) { f.ClientErr = errors.New("disk") }, 500, "internal"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &apitest.Fake{Catchup: map[string]any{"v": 1, "full": true}}
			if tt.change != nil {
				tt.change(f)
			}
			res := apitest.Call(apitest.New(t, f), "GET", "/revocations"+tt.query, "", tt.headers...)
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("ETag") != "" {
				t.Errorf("headers %v", res.Header)
			}
			if (tt.status == 401) != (res.Header.Get("WWW-Authenticate") == `Basic realm="tokenbroker", charset="UTF-8"`) {
				t.Errorf("challenge %q", res.Header.Get("WWW-Authenticate"))
			}
			if tt.status != 200 {
				apitest.Want(t, res, tt.status, tt.code)
				return
			}
			apitest.WantJSON(t, res, 200, `{"full":true,"v":1}`)
			if f.Position != strings.TrimPrefix(tt.query, "?after=") {
				t.Errorf("called with the position %q", f.Position)
			}
		})
	}
}

func TestACatchUpSaysWhichProtocolTheServiceSpeaks(t *testing.T) {
	for query, want := range map[string]int{"": 1, "?after=o.1": 1, "?after=o.1&speaks=2": 2, "?speaks=3": 3} {
		f := &apitest.Fake{Catchup: map[string]any{"v": 1}}
		apitest.WantJSON(t, apitest.Call(apitest.New(t, f), "GET", "/revocations"+query, "", apitest.DemoService), 200, `{"v":1}`)
		if f.Speaks != want {
			t.Errorf("%q speaks %d, want %d", query, f.Speaks, want)
		}
	}
}

// TestASlowCatchUpIsRefusedWithRetryAfter: a service stops waiting after 4 s without a byte, so
// the broker refuses before that, and without an interim answer, which proxies take for the answer.
func TestASlowCatchUpIsRefusedWithRetryAfter(t *testing.T) {
	for _, takes := range []time.Duration{2900 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			f := &apitest.Fake{Catchup: map[string]any{"v": 1}, CatchupWait: takes}
			server := &httptest.Server{Config: &http.Server{Handler: apitest.New(t, f)}}
			pipehttp.Start(t, server)
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
					t.Errorf("an interim answer %d", code)
					return nil
				},
			})
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/revocations", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("demo-service", "demo-service-secret")
			began := time.Now()
			resp, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			took := time.Since(began)
			if takes < catchupWait {
				if resp.StatusCode != http.StatusOK || took != takes {
					t.Errorf("%s after %s", resp.Status, took)
				}
				return
			}
			if p := apitest.Want(t, resp, http.StatusServiceUnavailable, "unavailable"); took != catchupWait || resp.Header.Get("Retry-After") != "1" || !strings.Contains(p.Detail, "send the request again") {
				t.Errorf("after %s, Retry-After %q: %s", took, resp.Header.Get("Retry-After"), p.Detail)
			}
		})
	}
}

// catchupWait is how long a service waits for the answer to a catch-up.
const catchupWait = 3 * time.Second

func TestTheFormOfACatchUpFollowsAccept(t *testing.T) {
	const binary = string(revocation.FormBinary)
	tests := []struct {
		name   string
		accept []string
		binary bool
	}{
		{"no Accept header", nil, false},
		{"the binary form", []string{binary}, true},
		{"in capitals", []string{strings.ToUpper(binary)}, true},
		{"with JSON as the second choice", []string{binary + ", application/json;q=0.5"}, true},
		{"in two lines", []string{"application/json;q=0.5", binary}, true},
		{"with a range for any type", []string{"*/*, " + binary}, true},
		{"as the second choice", []string{binary + ";q=0.4, application/json"}, false},
		{"with JSON as the third choice", []string{"*/*, " + binary + ";q=0.9, application/json;q=0.1"}, true},
		{"refused", []string{binary + ";q=0"}, false},
		{"JSON", []string{"application/json"}, false},
		{"anything", []string{"*/*"}, false},
		{"a longer type with the same prefix", []string{binary + "+json, " + binary + "2"}, false},
		{"something else", []string{"text/html"}, false},
		{"nonsense", []string{";;,=" + binary + ";q=x"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &apitest.Fake{Catchup: map[string]any{"v": 1}}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, apitest.Own+"/revocations", nil)
			r.SetBasicAuth("demo-service", "demo-service-secret")
			r.Header["Accept"] = tt.accept
			w := httptest.NewRecorder()
			apitest.New(t, f).ServeHTTP(w, r)
			kind, body := "application/json", `{"v":1}`
			if tt.binary {
				kind, body = binary, "packed"
			}
			h := w.Result().Header
			if h.Get("Content-Type") != kind || w.Body.String() != body || w.Code != 200 {
				t.Errorf("%d, %v, %q", w.Code, h, w.Body)
			}
			if !strings.Contains(strings.Join(h.Values("Vary"), ","), "Accept") || h.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", h)
			}
			if f.Open != 0 {
				t.Errorf("%d answers were not closed", f.Open)
			}
		})
	}
}
