package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"tokenbroker/api"
	"tokenbroker/api/browser"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/oauth"
	"tokenbroker/api/pages"
	"tokenbroker/revocation"
)

const refreshPath = "/auth/refresh/"

// BenchmarkRefreshHTTP measures POST /auth/refresh/ over loopback from 64 keep-alive clients,
// compared with a gin handler that makes one ES256 signature and stores nothing.
func BenchmarkRefreshHTTP(b *testing.B) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	b.Cleanup(client.CloseIdleConnections)
	for _, w := range wirings {
		b.Run(w.name, func(b *testing.B) {
			r := newRig(b, w.change)
			work := refreshOverHTTP(b, r, client)
			before := r.commits.Load()
			measure(b, clients, work, peer{name: "gin-and-signature", work: ginAndSignature(b, r, client), share: 1})
			b.ReportMetric(float64(b.N)/float64(r.commits.Load()-before), "refreshes/commit")
		})
	}
	b.Run("gin-and-signature", func(b *testing.B) { measure(b, clients, ginAndSignature(b, newRig(b, nil), client)) })
}

// refreshOverHTTP refreshes each client's session as a browser does.
func refreshOverHTTP(tb testing.TB, r *rig, client *http.Client) func(int) error {
	tb.Helper()
	url := serveAPI(tb, r, none{})
	var cookies, bodies [clients]string
	for i, grant := range r.signIn(tb, clients) {
		cookies[i], bodies[i] = "refresh_cookie="+grant.RefreshToken, `{"CSRF_token":"`+grant.CSRFToken+`"}`
	}
	return func(i int) error {
		set, err := post(client, url+refreshPath, bodies[i], cookies[i])
		if err != nil {
			return err
		}
		if len(set) != 1 {
			return fmt.Errorf("%d cookies in the answer to a refresh", len(set))
		}
		cookies[i] = set[0].Name + "=" + set[0].Value
		return nil
	}
}

// serveAPI serves the public surface of the rig's broker.
func serveAPI(tb testing.TB, r *rig, verifier oauth.Verifier) (url string) {
	tb.Helper()
	handler, err := api.New(api.Config{
		SiteConfig: httpapi.SiteConfig{Issuer: issuer},
		Browser:    browser.Config{Sessions: r, Cookie: httpapi.Cookie{Insecure: true}},
		Pages:      pages.Config{Authorizations: r.oauth, Logouts: r.oauth, Sessions: r},
		OAuth: oauth.Config{
			Clients: r.oauth, Verifier: verifier, AnyAudience: verifier, JWKS: noDocument,
			MaxTokenLifetime: func() time.Duration { return 5 * time.Minute }, Algorithms: func() []string { return []string{"ES256"} },
			Scopes: []string{"openid"}, Claims: []string{"name"}, AssertionAlgorithms: []string{"ES256"},
		},
		Feed:      feed.Config{Clients: r.oauth, Catchup: none{}, JWKS: noDocument},
		Readiness: func(context.Context) []httpapi.Check { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return server.URL
}

func ginAndSignature(tb testing.TB, r *rig, client *http.Client) func(int) error {
	tb.Helper()
	gin.SetMode(gin.ReleaseMode)
	sign := signature(tb, r)
	e := gin.New()
	e.POST(refreshPath, func(c *gin.Context) {
		if err := sign(0); err != nil {
			c.Status(http.StatusInternalServerError)
			return
		}
		c.JSON(http.StatusOK, map[string]string{"access_token": strings.Repeat("t", 600)})
	})
	server := httptest.NewServer(e)
	tb.Cleanup(server.Close)
	body, cookie := `{"CSRF_token":"`+strings.Repeat("c", 43)+`"}`, "refresh_cookie="+strings.Repeat("r", 120)
	return func(int) error {
		_, err := post(client, server.URL+refreshPath, body, cookie)
		return err
	}
}

// post sends a JSON body, reads the whole response, whose status must be 200, and returns its
// cookies.
func post(client *http.Client, url, body, cookie string) ([]*http.Cookie, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cookie", cookie)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %d %s", url, resp.StatusCode, answer)
	}
	return resp.Cookies(), nil
}

// none implements the ports of api that these benchmarks never call.
type none struct{}

func (none) Verify(context.Context, string) (json.RawMessage, error) {
	return nil, errors.New("not part of the bench")
}

func (none) Answer(context.Context, feed.Reader, revocation.Form) (feed.CatchupAnswer, error) {
	return nil, errors.New("not part of the bench")
}

func noDocument() ([]byte, string, time.Duration) { return []byte("{}"), "none", time.Second }
