package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/internal/pipehttp"
	"tokenbroker/revocation"
)

// fakeAnswer is one of the fake's answers.
type fakeAnswer struct {
	of   *fake
	body []byte
}

func (a *fakeAnswer) Size() int64 { return int64(len(a.body)) }

func (a *fakeAnswer) Close() error {
	a.of.open--
	return nil
}

func (a *fakeAnswer) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(a.body)
	return int64(n), err
}

// TestACatchUpThatTakesLongIsAskedForAgain: a service gives up after 4 s without a byte, so it is
// told before, and by no interim answer, which proxies take for the answer.
func TestACatchUpThatTakesLongIsAskedForAgain(t *testing.T) {
	for _, takes := range []time.Duration{2900 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{answer: map[string]any{"v": 1}, wait: takes}
			server := &httptest.Server{Config: &http.Server{Handler: newAPI(t, f)}}
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
			if p := want(t, resp, http.StatusServiceUnavailable, "unavailable"); took != catchupWait || resp.Header.Get("Retry-After") != "1" || !strings.Contains(p.Detail, "ask again") {
				t.Errorf("after %s, Retry-After %q: %s", took, resp.Header.Get("Retry-After"), p.Detail)
			}
		})
	}
}

// catchupWait is how long a service waits for the answer to a catch-up.
const catchupWait = 3 * time.Second

func TestTheFormOfACatchUp(t *testing.T) {
	const binary = string(revocation.FormBinary)
	tests := []struct {
		name   string
		accept []string
		binary bool
	}{
		{"nothing said", nil, false},
		{"the binary form", []string{binary}, true},
		{"in capitals", []string{strings.ToUpper(binary)}, true},
		{"with JSON as the second choice", []string{binary + ", application/json;q=0.5"}, true},
		{"in two lines", []string{"application/json;q=0.5", binary}, true},
		{"beside anything", []string{"*/*, " + binary}, true},
		{"as the second choice", []string{binary + ";q=0.4, application/json"}, false},
		{"with JSON as the third choice", []string{"*/*, " + binary + ";q=0.9, application/json;q=0.1"}, true},
		{"refused", []string{binary + ";q=0"}, false},
		{"JSON", []string{"application/json"}, false},
		{"anything", []string{"*/*"}, false},
		{"a type that only begins so", []string{binary + "+json, " + binary + "2"}, false},
		{"something else", []string{"text/html"}, false},
		{"nonsense", []string{";;,=" + binary + ";q=x"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{answer: map[string]any{"v": 1}}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, own+"/revocations", nil)
			r.SetBasicAuth("demo-service", "demo-service-secret")
			r.Header["Accept"] = tt.accept
			w := httptest.NewRecorder()
			newAPI(t, f).ServeHTTP(w, r)
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
			if f.open != 0 {
				t.Errorf("%d answers are not given back", f.open)
			}
		})
	}
}
