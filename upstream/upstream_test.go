package upstream_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
	"tokenbroker/upstream/devidp"
)

const redirectURI = "http://127.0.0.1:8080/auth/callback/cognito/"

// pool is a Cognito user pool with a provider for it. Both use one clock.
type pool struct {
	*devidp.Server
	provider *upstream.Provider
	issuer   string
	mu       sync.Mutex
	ahead    time.Duration
	paths    map[string]int
}

func (p *pool) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.ahead)
}

func (p *pool) advance(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead += d
}

func newPool(t *testing.T) *pool {
	t.Helper()
	p := &pool{paths: map[string]int{}}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.paths[r.URL.Path]++
		p.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.issuer = server.URL + "/us-east-1_devpool01"
	var err error
	p.Server, err = devidp.New(devidp.Config{
		Issuer: p.issuer, Users: devidp.DevUsers(), Now: p.now,
		Clients: []devidp.Client{{ID: "dev-client", RedirectURIs: []string{redirectURI}}, {ID: "other-client"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	handler = p.Handler()
	p.provider, err = upstream.New(upstream.Config{
		Name: "cognito", Kind: upstream.KindCognito, Issuer: p.issuer, ClientID: "dev-client", Exchange: true, Now: p.now, Timeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signIn uses the hosted page and returns the parameters of the redirect URI.
func (p *pool) signIn(t *testing.T, req broker.AuthorizeRequest, username, password string) url.Values {
	t.Helper()
	to, err := p.provider.AuthorizeURL(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm(to, url.Values{"username": {username}, "password": {password}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	location, err := resp.Location()
	if err != nil {
		t.Fatalf("status %d: %v", resp.StatusCode, err)
	}
	return location.Query()
}

func authorizeRequest() broker.AuthorizeRequest {
	return broker.AuthorizeRequest{RedirectURI: redirectURI, State: "state-1", Nonce: "nonce-1", Verifier: strings.Repeat("v", 43)}
}

func exchangeOf(answer url.Values) broker.CodeExchange {
	return broker.CodeExchange{Code: answer.Get("code"), RedirectURI: redirectURI, Verifier: strings.Repeat("v", 43), Nonce: "nonce-1"}
}

func TestCodeFlow(t *testing.T) {
	p := newPool(t)
	answer := p.signIn(t, authorizeRequest(), "ada", "ada")
	if answer.Get("state") != "state-1" {
		t.Errorf("state %q", answer.Get("state"))
	}
	id, err := p.provider.Exchange(t.Context(), exchangeOf(answer))
	if err != nil {
		t.Fatal(err)
	}
	if id.Username != "ada" || id.Issuer != p.issuer || id.Subject == "" || !id.EmailVerified || len(id.Groups) != 1 || id.Groups[0] != "staff" || id.UpstreamSID == "" {
		t.Errorf("identity %+v", id)
	}
	if _, leaked := id.Attributes["nonce"]; leaked || id.Attributes["email"] != "ada@example.org" {
		t.Errorf("attributes %v", id.Attributes)
	}
	if _, err := p.provider.Exchange(t.Context(), exchangeOf(answer)); !errors.Is(err, broker.ErrUpstreamCode) {
		t.Errorf("a code used twice: %v", err)
	}
}

func TestHintsReachTheProvider(t *testing.T) {
	p := newPool(t)
	req := authorizeRequest()
	for _, hints := range []broker.LoginHints{{}, {Prompt: "login", MaxAge: "0", LoginHint: "ada@example.org", ACRValues: "a b"}} {
		req.Hints = hints
		to, err := p.provider.AuthorizeURL(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		got := broker.LoginHints{Prompt: query.Get("prompt"), MaxAge: query.Get("max_age"), LoginHint: query.Get("login_hint"), ACRValues: query.Get("acr_values")}
		if got != hints || query.Has("prompt") != (hints.Prompt != "") || query.Get("state") != req.State {
			t.Errorf("got %s", to)
		}
	}
}

func TestCodeFlowRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		faults devidp.Faults
		change func(*broker.CodeExchange)
		want   error
	}{
		"another verifier":      {change: func(c *broker.CodeExchange) { c.Verifier = strings.Repeat("w", 43) }, want: broker.ErrUpstreamCode},
		"another redirect URI":  {change: func(c *broker.CodeExchange) { c.RedirectURI += "x" }, want: broker.ErrUpstreamCode},
		"another issuer's code": {change: func(c *broker.CodeExchange) { c.Issuer = "https://other.test" }, want: broker.ErrUpstreamCode},
		"another nonce":         {change: func(c *broker.CodeExchange) { c.Nonce = "nonce-2" }, want: broker.ErrUpstreamToken},
		"wrong nonce":           {faults: devidp.Faults{WrongNonce: true}, want: broker.ErrUpstreamToken},
		"wrong issuer":          {faults: devidp.Faults{WrongIssuer: true}, want: broker.ErrUpstreamToken},
		"wrong audience":        {faults: devidp.Faults{WrongAudience: true}, want: broker.ErrUpstreamToken},
		"wrong token_use":       {faults: devidp.Faults{WrongUse: true}, want: broker.ErrUpstreamToken},
		"expired":               {faults: devidp.Faults{Expired: true}, want: broker.ErrUpstreamExpired},
		"unknown kid":           {faults: devidp.Faults{UnknownKID: true}, want: broker.ErrUpstreamToken},
		"unverified e-mail":     {faults: devidp.Faults{EmailUnverified: true}, want: broker.ErrEmailNotVerified},
		"down":                  {faults: devidp.Faults{Down: true}, want: broker.ErrUpstreamUnavailable},
		"slow":                  {faults: devidp.Faults{Slow: 2500 * time.Millisecond}, want: broker.ErrUpstreamUnavailable},
		"oversized":             {faults: devidp.Faults{Oversized: true}, want: broker.ErrUpstreamUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			code := exchangeOf(p.signIn(t, authorizeRequest(), "admin", "admin"))
			if tc.change != nil {
				tc.change(&code)
			}
			p.Set(tc.faults)
			if _, err := p.provider.Exchange(t.Context(), code); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func (p *pool) tokens(t *testing.T, username, client string) broker.UpstreamTokens {
	t.Helper()
	tokens, err := p.TokensFor(username, client)
	if err != nil {
		t.Fatal(err)
	}
	return broker.UpstreamTokens{IDToken: tokens.ID, AccessToken: tokens.Access}
}

func TestSocialExchangeTokens(t *testing.T) {
	p := newPool(t)
	good := p.tokens(t, "ada", "dev-client")
	if id, err := p.provider.VerifyTokens(t.Context(), good); err != nil || id.Username != "ada" || id.TokenHash == "" {
		t.Fatalf("%+v, %v", id, err)
	}
	other := p.tokens(t, "admin", "dev-client")
	again := p.tokens(t, "ada", "dev-client")
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	parts := strings.Split(good.IDToken, ".")
	for name, tc := range map[string]struct {
		tokens broker.UpstreamTokens
		want   error
	}{
		"access token of another user":    {broker.UpstreamTokens{IDToken: good.IDToken, AccessToken: other.AccessToken}, broker.ErrUpstreamToken},
		"access token of another sign-in": {broker.UpstreamTokens{IDToken: good.IDToken, AccessToken: again.AccessToken}, broker.ErrUpstreamToken},
		"swapped":                         {broker.UpstreamTokens{IDToken: good.AccessToken, AccessToken: good.IDToken}, broker.ErrUpstreamToken},
		"another client's":                {p.tokens(t, "ada", "other-client"), broker.ErrUpstreamToken},
		"alg none":                        {broker.UpstreamTokens{IDToken: header + "." + parts[1] + "."}, broker.ErrUpstreamToken},
		"HS256 by the public key":         {broker.UpstreamTokens{IDToken: p.confused(t, parts[1])}, broker.ErrUpstreamToken},
		"a changed claim":                 {broker.UpstreamTokens{IDToken: parts[0] + "." + parts[1][:20] + "A" + parts[1][21:] + "." + parts[2]}, broker.ErrUpstreamToken},
		"nothing":                         {broker.UpstreamTokens{}, broker.ErrUpstreamToken},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := p.provider.VerifyTokens(t.Context(), tc.tokens); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	p.Set(devidp.Faults{EmailUnverified: true})
	if _, err := p.provider.VerifyTokens(t.Context(), p.tokens(t, "ada", "dev-client")); !errors.Is(err, broker.ErrEmailNotVerified) {
		t.Errorf("unverified e-mail: %v", err)
	}
	p.Set(devidp.Faults{})
	p.advance(11 * time.Minute)
	if _, err := p.provider.VerifyTokens(t.Context(), good); !errors.Is(err, broker.ErrUpstreamExpired) {
		t.Errorf("old but unexpired: %v", err)
	}
	p.advance(2 * time.Hour)
	if _, err := p.provider.VerifyTokens(t.Context(), good); !errors.Is(err, broker.ErrUpstreamExpired) {
		t.Errorf("expired: %v", err)
	}
}

// confused signs with HMAC, keyed with the published RSA key as PEM.
func (p *pool) confused(t *testing.T, payload string) string {
	t.Helper()
	resp, err := http.Get(p.issuer + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(set.Keys[0].Key.(*rsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret, KeyID: set.Keys[0].KeyID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestRandomKIDsCauseOneFetchPerWindow checks that a flood of unknown kids causes only one fetch in 10
// s.
func TestRandomKIDsCauseOneFetchPerWindow(t *testing.T) {
	p := newPool(t)
	good := p.tokens(t, "ada", "dev-client")
	if _, err := p.provider.VerifyTokens(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good.IDToken, ".")
	forged := func(i int) broker.UpstreamTokens {
		header := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","kid":"k%d"}`, i))
		return broker.UpstreamTokens{IDToken: header + "." + parts[1] + "." + parts[2]}
	}
	p.advance(11 * time.Second)
	before := p.provider.KeyFetches()
	for i := range 10_000 {
		if _, err := p.provider.VerifyTokens(t.Context(), forged(i)); !errors.Is(err, broker.ErrUpstreamToken) {
			t.Fatal(err)
		}
	}
	if n := p.provider.KeyFetches() - before; n != 1 {
		t.Errorf("10,000 unknown kids made %d fetches", n)
	}
	if _, err := p.provider.VerifyTokens(t.Context(), good); err != nil {
		t.Errorf("a valid token after the flood: %v", err)
	}
}

func TestNewKeysAreFetchedAndAnOutageKeepsTheLastKeys(t *testing.T) {
	p := newPool(t)
	if _, err := p.provider.VerifyTokens(t.Context(), p.tokens(t, "ada", "dev-client")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.RotateKeys(); err != nil {
			t.Fatal(err)
		}
	}
	p.advance(11 * time.Second)
	fresh := p.tokens(t, "ada", "dev-client")
	if _, err := p.provider.VerifyTokens(t.Context(), fresh); err != nil {
		t.Errorf("a key published since then: %v", err)
	}
	p.Set(devidp.Faults{Down: true})
	p.advance(11 * time.Second)
	if _, err := p.provider.VerifyTokens(t.Context(), fresh); err != nil {
		t.Errorf("a known key while the provider is down: %v", err)
	}
}

func TestProviderThatIsDownAtStartIsUsedLater(t *testing.T) {
	p := newPool(t)
	p.Set(devidp.Faults{Down: true})
	for range 5 {
		if _, err := p.provider.AuthorizeURL(t.Context(), authorizeRequest()); !errors.Is(err, broker.ErrUpstreamUnavailable) {
			t.Errorf("got %v", err)
		}
	}
	if p.provider.Ready(t.Context()) || p.paths["/us-east-1_devpool01/.well-known/openid-configuration"] != 1 {
		t.Errorf("requests %v", p.paths)
	}
	p.Set(devidp.Faults{})
	p.advance(2 * time.Second)
	if _, err := p.provider.AuthorizeURL(t.Context(), authorizeRequest()); err != nil || !p.provider.Ready(t.Context()) {
		t.Errorf("after the provider recovered: %v", err)
	}
}
