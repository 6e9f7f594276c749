package upstream_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"crypto/elliptic"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

// TestOneTokenHasOneHash checks that another spelling of a token is refused, and that another valid
// signature over the same claims has the same hash, so that a token can be exchanged only once.
func TestOneTokenHasOneHash(t *testing.T) {
	o := newOP()
	o.jwks = append(o.jwks, jose.JSONWebKey{Key: testKeys()["ec"].Public(), KeyID: "ec"})
	p := o.provider(t, nil)
	verify := func(raw string) (broker.Identity, error) {
		return p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw})
	}
	raw := sign(t, jose.ES256, "ec", testKeys()["ec"], goodClaims(nil))
	first, err := verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	head, signature := raw[:strings.LastIndex(raw, ".")+1], raw[strings.LastIndex(raw, ".")+1:]
	rs, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(rs[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(rs[32:])
	if again, err := verify(head + base64.RawURLEncoding.EncodeToString(rs)); err == nil && again.TokenHash != first.TokenHash {
		t.Error("the signature with n−s has another hash")
	}
	other, err := verify(sign(t, jose.ES256, "ec", testKeys()["ec"], goodClaims(map[string]any{"jti": "2"})))
	if err != nil || other.TokenHash == first.TokenHash {
		t.Errorf("another token has the same hash, or is refused: %v", err)
	}

	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, raw[len(raw)-1])
	for name, spelling := range map[string]string{
		"a line feed at the end":   raw + "\n",
		"a carriage return inside": raw[:9] + "\r" + raw[9:],
		"a space at the end":       raw + " ",
		"padding":                  raw + "==",
		"a changed last character": raw[:len(raw)-1] + string(alphabet[last^1]),
		"a fourth segment":         raw + ".",
		"standard base64":          strings.NewReplacer("-", "+", "_", "/").Replace(raw) + "=",
	} {
		if _, err := verify(spelling); !errors.Is(err, broker.ErrUpstreamToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOtherTokensOfTheIssuerAreNotIDTokens checks tokens for the same client: access tokens (RFC
// 9068 §2.1), log-out tokens (OIDC Back-Channel Logout §2.4) and security events.
func TestOtherTokensOfTheIssuerAreNotIDTokens(t *testing.T) {
	for name, tc := range map[string]struct {
		typ    any
		claims map[string]any
		ok     bool
	}{
		"JWT":                          {typ: "JWT", ok: true},
		"jwt as a media type":          {typ: "application/jwt", ok: true},
		"no typ":                       {ok: true},
		"an access token":              {typ: "at+jwt"},
		"an access token's media type": {typ: "application/AT+jwt"},
		"a log-out token":              {typ: "logout+jwt"},
		"a typ that is not text":       {typ: 7},
		"a log-out token without typ":  {claims: map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := signPayload(t, jose.RS256, "rsa", testKeys()["rsa"], tc.typ, encode(goodClaims(tc.claims)))
			_, err := newOP().provider(t, nil).VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: raw})
			if tc.ok && err != nil || !tc.ok && !errors.Is(err, broker.ErrUpstreamToken) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestBothIssuersOfGoogleAreOneIssuer checks that Google's issuer with and without the scheme is one
// issuer.
func TestBothIssuersOfGoogleAreOneIssuer(t *testing.T) {
	const google = "https://accounts.google.com"
	o := newOP()
	o.discovery["issuer"] = google
	p := o.provider(t, func(c *upstream.Config) { c.Issuer = google })
	for _, iss := range []string{google, "accounts.google.com"} {
		id, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: signed(t, map[string]any{"iss": iss})})
		if err != nil || id.Issuer != google {
			t.Errorf("iss %q: issuer %q, %v", iss, id.Issuer, err)
		}
	}
}

func TestNumbersAreKeptExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP().provider(t, nil)
		identity := func(claims map[string]any) broker.Identity {
			t.Helper()
			id, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: signed(t, claims)})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		if n := identity(map[string]any{"employee": json.Number("9007199254740993")}).Attributes["employee"]; n != json.Number("9007199254740993") {
			t.Errorf("attribute %v (%T)", n, n)
		}
		now := time.Now().Unix()
		for _, at := range []any{0, -1, now + 61, 1.5, json.Number("1e300"), "946684000", true} {
			if id := identity(map[string]any{"auth_time": at}); !id.AuthTime.IsZero() {
				t.Errorf("auth_time %v is read as %v", at, id.AuthTime)
			}
		}
		for _, at := range []int64{1, now, now + 60} {
			if id := identity(map[string]any{"auth_time": at}); id.AuthTime.Unix() != at {
				t.Errorf("auth_time %d is read as %v", at, id.AuthTime)
			}
		}
	})
}

// TestCognitoLogoutURL checks that Cognito's log-out URL is from its discovery document and
// has Cognito's parameters.
func TestCognitoLogoutURL(t *testing.T) {
	p := newPool(t)
	to, err := url.Parse(p.provider.LogoutURL(t.Context(), "https://app.test/"))
	if err != nil {
		t.Fatal(err)
	}
	query := to.Query()
	if to.Path != "/logout" || query.Get("logout_uri") != "https://app.test/" || query.Get("client_id") != "dev-client" || query.Has("post_logout_redirect_uri") {
		t.Errorf("log-out page %s", to)
	}
}
