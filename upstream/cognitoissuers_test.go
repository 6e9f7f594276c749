package upstream_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
	"tokenbroker/upstream/devidp"
)

func TestCognitoIssuersByPartitionAndRegion(t *testing.T) {
	for _, tc := range []struct {
		region, pool, identity string
		others                 []string
	}{
		{"us-east-1", "us-east-1_a", "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_a", []string{"https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_a"}},
		{"us-gov-west-1", "us-gov-west-1_a", "https://cognito-idp.us-gov-west-1.amazonaws.com/us-gov-west-1_a", []string{"https://issuer-cognito-idp.us-gov-west-1.amazonaws.com/us-gov-west-1_a"}},
		{"cn-north-1", "cn-north-1_a", "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_a", []string{"https://issuer-cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_a"}},
		{"eusc-de-east-1", "eusc-de-east-1_a", "https://cognito-idp.eusc-de-east-1.amazonaws.eu/eusc-de-east-1_a", []string{"https://issuer-cognito-idp.eusc-de-east-1.amazonaws.eu/eusc-de-east-1_a"}},
		// A replica, for which the identity is that of the primary region.
		{"us-west-2", "us-east-1_a", "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_a", []string{"https://cognito-idp.us-west-2.amazonaws.com/us-east-1_a", "https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_a"}},
	} {
		identity, issuers := upstream.CognitoIssuers(tc.region, tc.pool)
		want := append([]string{tc.identity}, tc.others...)
		slices.Sort(want)
		if got := slices.Sorted(slices.Values(issuers)); identity != tc.identity || !slices.Equal(got, want) {
			t.Errorf("%s in %s: %s, %q", tc.pool, tc.region, identity, issuers)
		}
		if issuers[0] != upstream.CognitoIssuer(tc.region, tc.pool) {
			t.Errorf("%s in %s: the first issuer is %s", tc.pool, tc.region, issuers[0])
		}
	}
}

func TestPreferredCognitoIssuer(t *testing.T) {
	for first, ok := range map[string]bool{
		"https://cognito-idp.us-east-1.amazonaws.com/us-east-1_a":        true,
		"https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_a": true,
		"https://cognito-idp.us-west-2.amazonaws.com/us-east-1_a":        true,
		"https://cognito-idp.us-west-2.api.aws/us-east-1_a":              true,
		"": false,
		"https://issuer-cognito-idp.us-west-2.amazonaws.com/us-east-1_a":       false,
		"https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_b":       false,
		"https://cognito-idp.us-east-1.amazonaws.com/us-east-1_a/":             false,
		"https://cognito-idp.us-east-1.amazonaws.com.evil.example/us-east-1_a": false,
		"https://cognito-idp.eu-west-1.amazonaws.com/us-east-1_a":              false,
		"https://cognito-idp.us-east-1.amazonaws.com.cn/us-east-1_a":           false,
		"http://cognito-idp.us-east-1.amazonaws.com/us-east-1_a":               false,
	} {
		issuers, found := upstream.PreferCognitoIssuer(first, "us-west-2", "us-east-1_a")
		if found != ok || ok && (issuers[0] != first || len(issuers) < 3 || len(slices.Compact(slices.Sorted(slices.Values(issuers)))) != len(issuers)) {
			t.Errorf("%s: %q, %v", first, issuers, found)
		}
	}
}

// awsPool is a user pool at AWS's host names, without a network. Hosts in down do not respond.
type awsPool struct {
	*devidp.Server
	mu    sync.Mutex
	down  []string
	asked map[string]int // by host and path
	now   time.Time      // on the providers' clock
}

const (
	poolID          = "us-east-1_devpool01"
	originalIssuer  = "https://cognito-idp.us-east-1.amazonaws.com/" + poolID
	updatedIssuer   = "https://issuer-cognito-idp.us-east-1.amazonaws.com/" + poolID
	originalHost    = "cognito-idp.us-east-1.amazonaws.com"
	updatedHost     = "issuer-cognito-idp.us-east-1.amazonaws.com"
	discoveryOfPool = "/" + poolID + "/.well-known/openid-configuration"
)

func newAWSPool(t *testing.T) *awsPool {
	t.Helper()
	server, err := devidp.New(devidp.Config{
		Issuer: originalIssuer, UpdatedIssuer: updatedIssuer, Users: devidp.DevUsers(), Clients: []devidp.Client{{ID: "dev-client"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &awsPool{Server: server, asked: map[string]int{}, now: time.Now()}
}

// RoundTrip implements [http.RoundTripper].
func (p *awsPool) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.asked[r.URL.Host+r.URL.Path]++
	down := slices.Contains(p.down, r.URL.Host)
	p.mu.Unlock()
	if down {
		return nil, errors.New("no such host")
	}
	answer := httptest.NewRecorder()
	r.Host = r.URL.Host
	p.Handler().ServeHTTP(answer, r)
	return answer.Result(), nil
}

func (p *awsPool) hosts(t *testing.T, down ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *awsPool) provider(t *testing.T, region string) (*upstream.Provider, *strings.Builder) {
	t.Helper()
	logs := &strings.Builder{}
	cfg := upstream.Config{
		Name: "cognito", Kind: upstream.KindCognito, ClientID: "dev-client", Exchange: true, Transport: p, Logger: slog.New(slog.NewTextHandler(logs, nil)),
		Now: func() time.Time { return p.now },
	}
	cfg.Issuer, cfg.Issuers = upstream.CognitoIssuers(region, poolID)
	provider, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return provider, logs
}

func (p *awsPool) identity(t *testing.T, provider *upstream.Provider) (broker.Identity, error) {
	t.Helper()
	tokens, err := p.TokensFor("ada", "dev-client")
	if err != nil {
		t.Fatal(err)
	}
	return provider.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: tokens.ID, AccessToken: tokens.Access})
}

// TestUserPoolWithBothIssuers checks that users keep their identity if the operators of a pool
// switch its issuer while the broker runs.
func TestUserPoolWithBothIssuers(t *testing.T) {
	pool := newAWSPool(t)
	provider, _ := pool.provider(t, "us-east-1")
	before, err := pool.identity(t, provider)
	if err != nil {
		t.Fatal(err)
	}
	late, err := pool.TokensFor("ada", "dev-client")
	if err != nil {
		t.Fatal(err)
	}
	if pool.asked[updatedHost+discoveryOfPool] != 0 {
		t.Error("a request went to the updated issuer before a token named it")
	}
	pool.UseUpdatedIssuer(true)
	after, err := pool.identity(t, provider)
	if err != nil {
		t.Fatal(err)
	}
	if before.Issuer != originalIssuer || after.Issuer != before.Issuer || after.Subject != before.Subject || after.Provider != before.Provider ||
		!slices.Equal(after.Groups, before.Groups) || after.TokenHash == before.TokenHash {
		t.Errorf("identities differ:\n%+v\n%+v", before, after)
	}
	if _, err := provider.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: late.ID}); err != nil {
		t.Errorf("a token from before the switch: %v", err)
	}
	if _, err := provider.Exchange(t.Context(), broker.CodeExchange{Code: "c", Issuer: "https://other.example"}); !errors.Is(err, broker.ErrUpstreamCode) {
		t.Errorf("a callback that names another issuer: %v", err)
	}
	for _, issuer := range []string{originalIssuer, updatedIssuer} { // RFC 9207: the code is refused later
		if _, err := provider.Exchange(t.Context(), broker.CodeExchange{Code: "c", Issuer: issuer}); err == nil || strings.Contains(err.Error(), "another issuer's") {
			t.Errorf("a callback that names %s: %v", issuer, err)
		}
	}
}

// TestUpdatedIssuerOfAPoolWithoutOneIsRefused checks tokens that name an updated issuer that does
// not exist, which anyone can write. The provider stays ready, the host receives at most one
// request in 10 s, and there is one warning in the log.
func TestUpdatedIssuerOfAPoolWithoutOneIsRefused(t *testing.T) {
	pool := newAWSPool(t)
	pool.UseUpdatedIssuer(true)
	token, err := pool.TokensFor("ada", "dev-client")
	if err != nil {
		t.Fatal(err)
	}
	pool.UseUpdatedIssuer(false)
	provider, logs := pool.provider(t, "us-east-1")
	for range 4 {
		if _, err := provider.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: token.ID}); !errors.Is(err, broker.ErrUpstreamToken) || errors.Is(err, broker.ErrUpstreamUnavailable) {
			t.Errorf("error %v", err)
		}
		if !provider.Ready(t.Context()) {
			t.Error("the provider is not ready")
		}
		pool.now = pool.now.Add(5 * time.Second)
	}
	if n := pool.asked[updatedHost+discoveryOfPool]; n != 2 {
		t.Errorf("%d requests to the updated issuer within 15 s, want 2", n)
	}
	if n := strings.Count(logs.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, logs)
	}
	if _, err := pool.identity(t, provider); err != nil {
		t.Errorf("a valid token: %v", err)
	}
}

// TestIssuersOfAPoolReplaceEachOther checks that the provider uses the other host if one is down.
func TestIssuersOfAPoolReplaceEachOther(t *testing.T) {
	pool := newAWSPool(t)
	pool.UseUpdatedIssuer(true)
	pool.hosts(t, originalHost)
	provider, logs := pool.provider(t, "us-east-1")
	if !provider.Ready(t.Context()) {
		t.Error("not ready")
	}
	identity, err := pool.identity(t, provider)
	if err != nil || identity.Issuer != originalIssuer {
		t.Errorf("identity %+v, %v", identity, err)
	}
	if _, err := provider.AuthorizeURL(t.Context(), broker.AuthorizeRequest{State: "s", Nonce: "n", Verifier: "v"}); err != nil {
		t.Error(err)
	}
	if report, err := provider.Check(t.Context()); err != nil || report.Usable != 2 || report.Issuer != updatedIssuer {
		t.Errorf("report %+v, %v", report, err)
	}
	if !strings.Contains(logs.String(), "issuer="+originalIssuer) {
		t.Errorf("the log does not name the issuer: %s", logs)
	}
	pool.hosts(t, originalHost, updatedHost)
	none, _ := pool.provider(t, "us-east-1")
	if _, err := none.Check(t.Context()); !errors.Is(err, broker.ErrUpstreamUnavailable) || !strings.Contains(err.Error(), originalHost) || !strings.Contains(err.Error(), "at "+updatedIssuer) {
		t.Errorf("both down: %v", err)
	}
}

// TestReplicaOfAPool checks a broker that is configured with the region of a replica.
func TestReplicaOfAPool(t *testing.T) {
	pool := newAWSPool(t)
	provider, _ := pool.provider(t, "us-west-2")
	replica := "cognito-idp.us-west-2.amazonaws.com"
	pool.hosts(t, replica)
	identity, err := pool.identity(t, provider)
	if err != nil || identity.Issuer != originalIssuer {
		t.Errorf("identity %+v, %v", identity, err)
	}
	if pool.asked[replica+discoveryOfPool] == 0 {
		t.Error("the first request did not go to the replica")
	}
}

// TestKeysOfAnIssuerVerifyOnlyItsTokens checks that only the issuers of the pool are accepted, and
// that the keys of one issuer do not verify tokens of another.
func TestKeysOfAnIssuerVerifyOnlyItsTokens(t *testing.T) {
	o := newOP()
	const second = "https://second.test"
	o.answer("/.well-known/openid-configuration", func(r *http.Request) (int, []byte) {
		issuer := "https://" + r.URL.Host
		return http.StatusOK, encode(map[string]any{
			"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks",
		})
	})
	o.answer("/jwks", func(r *http.Request) (int, []byte) {
		key := map[string]string{"op.test": "rsa", "second.test": "rsa2"}[r.URL.Host]
		return http.StatusOK, encode(map[string]any{"keys": []any{public(key, "k")}})
	})
	p := o.provider(t, func(c *upstream.Config) { c.Kind, c.Issuers = upstream.KindCognito, []string{issuerURL, second} })
	for _, tc := range []struct {
		issuer, key string
		ok          bool
	}{
		{issuerURL, "rsa", true}, {second, "rsa2", true}, {issuerURL, "rsa2", false}, {second, "rsa", false},
		{"https://third.test", "rsa", false}, {issuerURL + "/", "rsa", false}, {"", "rsa", false}, {"second.test", "rsa2", false},
	} {
		raw := sign(t, jose.RS256, "k", testKeys()[tc.key], goodClaims(map[string]any{"iss": tc.issuer, "token_use": "id"}))
		_, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw})
		if tc.ok && err != nil || !tc.ok && !errors.Is(err, broker.ErrUpstreamToken) {
			t.Errorf("iss %q, signed with %s: %v", tc.issuer, tc.key, err)
		}
	}
}
