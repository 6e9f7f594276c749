package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"testing"
	"time"

	"tokenbroker/api"
	apibrowser "tokenbroker/api/browser"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/oauth"
	"tokenbroker/api/pages"
	"tokenbroker/broker"
	"tokenbroker/internal/longtest"
	"tokenbroker/revocation"
)

// slowCatchup takes longer than a catch-up waits for its first answer, and then has it.
type slowCatchup struct{ ready chan struct{} }

func (s slowCatchup) Answer(ctx context.Context, _ feed.Reader, _ revocation.Form) (feed.CatchupAnswer, error) {
	select {
	case <-s.ready:
		return preparedAnswer{bytes.NewReader(make([]byte, 4<<20))}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type preparedAnswer struct{ *bytes.Reader }

func (preparedAnswer) Close() error { return nil }

// knownClient lets every service in.
type knownClient struct{}

func (knownClient) AuthenticateClient(_ context.Context, c broker.ClientCredentials, _ broker.Request) (broker.ClientInfo, error) {
	return broker.ClientInfo{ID: c.ID}, nil
}

// TestDocsProxiesAndASlowCatchUp checks that a service behind a proxy is asked to retry while the answer
// is being prepared, without an interim response, and then gets the complete answer.
func TestDocsProxiesAndASlowCatchUp(t *testing.T) {
	longtest.SkipShort(t, "starts reverse proxies and waits for 3 s")
	none := func() ([]byte, string, time.Duration) { return nil, "", 0 }
	for name := range inFront {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready := make(chan struct{})
			handler, err := api.New(api.Config{
				SiteConfig: httpapi.SiteConfig{Issuer: "http://127.0.0.1"},
				Browser:    apibrowser.Config{Sessions: struct{ apibrowser.Sessions }{}, Cookie: httpapi.Cookie{Insecure: true}},
				Pages: pages.Config{
					Authorizations: struct{ pages.Authorizations }{}, Logouts: struct{ pages.Logouts }{}, Sessions: struct{ pages.Sessions }{},
				},
				OAuth: oauth.Config{
					Clients: struct{ oauth.Clients }{}, Verifier: struct{ oauth.Verifier }{}, AnyAudience: struct{ oauth.Verifier }{}, JWKS: none,
					Scopes: []string{"openid"}, Claims: []string{"sub"}, AssertionAlgorithms: []string{"ES256"},
					MaxTokenLifetime: func() time.Duration { return time.Minute }, Algorithms: func() []string { return nil },
				},
				Feed:      feed.Config{Clients: knownClient{}, Catchup: slowCatchup{ready}, JWKS: none},
				Readiness: func(context.Context) []httpapi.Check { return nil },
				Logger:    slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(handler)
			defer server.Close()
			url := startInFront(t, name, server.URL)
			ask := func() (status int, retryAfter string, size int64) {
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { return fmt.Errorf("an interim answer %d", code) },
				})
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/revocations", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.SetBasicAuth("svc", "secret")
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				size, err = io.Copy(io.Discard, resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp.StatusCode, resp.Header.Get("Retry-After"), size
			}
			if status, retryAfter, _ := ask(); status != http.StatusServiceUnavailable || retryAfter != "1" {
				t.Errorf("while it is prepared: %d, Retry-After %q", status, retryAfter)
			}
			close(ready)
			if status, _, size := ask(); status != http.StatusOK || size != 4<<20 {
				t.Errorf("when it is ready: %d, %d bytes", status, size)
			}
		})
	}
}
