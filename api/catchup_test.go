package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// pipes is a listener in the test's bubble; Dial connects to it.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	p <- there
	return here, nil
}

// TestAServiceThatWaitsHearsThatTheBrokerIsAtWork: 102 each second, then the answer, or the
// refusal, as if there had been none.
func TestAServiceThatWaitsHearsThatTheBrokerIsAtWork(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{answer: map[string]any{"v": 1}, wait: 3500 * time.Millisecond}
			want := http.StatusOK
			if fails {
				f.answerErr, want = errors.New("disk"), http.StatusInternalServerError
			}
			listener := make(pipes)
			server := &http.Server{Handler: newAPI(t, f), ReadHeaderTimeout: time.Minute}
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			transport := &http.Transport{DialContext: listener.dial}
			processing := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
					if code == http.StatusProcessing {
						processing++
					}
					return nil
				},
			})
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, own+"/revocations", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("demo-service", "demo-service-secret")
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Body.Close() != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Second) // nothing comes after the answer
			if processing != 3 || resp.StatusCode != want {
				t.Errorf("%d times 102, then %s", processing, resp.Status)
			}
			transport.CloseIdleConnections()
			close(listener)
			<-served
			_ = server.Close()
		})
	}
}

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
