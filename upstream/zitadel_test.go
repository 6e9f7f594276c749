package upstream_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

// TestZitadel runs the code flow with zitadel's OpenID provider.
func TestZitadel(t *testing.T) {
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	issuer := server.URL + "/"
	clients := map[string]*storage.Client{}
	client := storage.WebClient("broker", "s3cret", redirectURI)
	clients["broker"] = client
	handler = exampleop.SetupServer(issuer, storage.NewStorageWithClients(storage.NewUserStore(issuer), clients),
		slog.New(slog.DiscardHandler), false)

	provider, err := upstream.New(upstream.Config{
		Name: "zitadel", Issuer: issuer, ClientID: "broker", ClientSecret: "s3cret", Scopes: []string{"openid", "profile", "email"},
	})
	if err != nil {
		t.Fatal(err)
	}
	to, err := provider.AuthorizeURL(t.Context(), authorizeRequest())
	if err != nil {
		t.Fatal(err)
	}
	var back url.Values
	visitor := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirectURI) {
			back = r.URL.Query()
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page, err := visitor.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	_ = page.Body.Close()
	form := url.Values{"id": {page.Request.URL.Query().Get("authRequestID")}, "username": {"test-user@127.0.0.1"}, "password": {"verysecure"}}
	answer, err := visitor.PostForm(page.Request.URL.String(), form)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if back.Get("code") == "" || back.Get("state") != "state-1" {
		t.Fatalf("status %d, redirected with %v", answer.StatusCode, back)
	}
	code := exchangeOf(back)
	code.Issuer = back.Get("iss")
	id, err := provider.Exchange(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	if id.Issuer != issuer || id.Subject == "" || id.TokenHash == "" {
		t.Errorf("identity %+v", id)
	}
	if _, err := provider.Exchange(t.Context(), code); !errors.Is(err, broker.ErrUpstreamCode) && !errors.Is(err, broker.ErrUpstreamUnavailable) {
		t.Errorf("a code used twice: %v", err)
	}
}
