package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is an OpenID Connect issuer that signs the claims of a test.
type issuer struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any = map[string]string{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/jwks",
		}
		if r.URL.Path == "/jwks" {
			answer = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Use: "sig", Algorithm: "RS256"}}}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(i.Close)
	return i
}

// sign returns a token issued now with a lifetime of five minutes. payload has the other claims, as in the
// issuer's documentation.
func (i *issuer) sign(t *testing.T, typ, payload string, changed map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": i.URL, "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix()}
	if err := json.Unmarshal([]byte(payload), &claims); err != nil {
		t.Fatal(err)
	}
	maps.Copy(claims, changed)
	opts := (&jose.SignerOptions{}).WithHeader("typ", typ)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: "k"}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func atHash(access string) string {
	sum := sha256.Sum256([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// nonce requests a nonce. The browser keeps its cookie.
func (b *browser) nonce() string {
	b.t.Helper()
	answer := b.get("/auth/exchange-nonce", http.StatusOK)
	nonce, _ := answer["nonce"].(string)
	in, _ := answer["expires_in"].(float64)
	expires, _ := answer["expires"].(float64)
	if left := time.Until(time.Unix(int64(expires), 0)); nonce == "" || in < 1 || in > 600 || left > 10*time.Minute {
		b.t.Fatalf("answer %v", answer)
	}
	return nonce
}

// exchange returns "200", or the status and the problem's code.
func (b *browser) exchange(id, access string) string {
	b.t.Helper()
	body := map[string]string{"provider": "corp", "id_token": id}
	if access != "" {
		body["access_token"] = access
	}
	text, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+"/auth/social-exchange/", bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	status, answer := do(b.t, b.client, req)
	var problem struct{ Code string }
	_ = json.Unmarshal([]byte(answer), &problem)
	return strings.TrimSpace(strconv.Itoa(status) + " " + problem.Code)
}

// tokensOf has an access token and an id token for the client spa in the form of each issuer, without iss,
// iat and exp.
var tokensOf = map[string]struct {
	accessTyp, access string
	// carriesNonce says that the access token repeats the nonce of the sign-in.
	carriesNonce bool
	id           string
}{
	"Keycloak": {
		accessTyp: "JWT", carriesNonce: true, // before version 24
		access: `{"jti":"onrtac:1","aud":["spa","account"],"sub":"f:1:ada","typ":"Bearer","azp":"spa","sid":"5a","acr":"1","allowed-origins":["*"],
			"realm_access":{"roles":["user"]},"resource_access":{"account":{"roles":["view-profile"]}},"scope":"openid profile email","preferred_username":"ada"}`,
		id: `{"auth_time":1,"jti":"2","aud":"spa","sub":"f:1:ada","typ":"ID","azp":"spa","sid":"5a","acr":"1","email_verified":true,"name":"Ada","preferred_username":"ada","email":"ada@example.org"}`,
	},
	"Keycloak, a refresh token": {
		accessTyp: "JWT", carriesNonce: true,
		access: `{"jti":"3","aud":"spa","sub":"f:1:ada","typ":"Refresh","azp":"spa","sid":"5a","scope":"openid profile email"}`,
	},
	"Entra ID v1": {
		accessTyp: "JWT",
		access: `{"aud":"spa","nbf":1,"acr":"1","aio":"AXQ","amr":["pwd"],"appid":"spa","appidacr":"0","ipaddr":"192.0.2.1","name":"Ada","oid":"o-1","rh":"0.A",
			"scp":"access_as_user","sub":"s-1","tid":"t-1","unique_name":"ada@example.org","upn":"ada@example.org","uti":"u","ver":"1.0"}`,
		id: `{"aud":"spa","nbf":1,"amr":["pwd"],"family_name":"L","given_name":"Ada","ipaddr":"192.0.2.1","name":"Ada","oid":"o-1","rh":"0.A","sub":"s-1","tid":"t-1","unique_name":"ada@example.org","upn":"ada@example.org","uti":"v","ver":"1.0"}`,
	},
	"Entra ID v2": {
		accessTyp: "JWT",
		access:    `{"aud":"spa","nbf":1,"aio":"AYQ","azp":"spa","azpacr":"0","name":"Ada","oid":"o-2","preferred_username":"ada@example.org","rh":"0.A","scp":"access_as_user","sub":"s-2","tid":"t-1","uti":"u","ver":"2.0"}`,
		id:        `{"aud":"spa","nbf":1,"aio":"AYQ","name":"Ada","oid":"o-2","preferred_username":"ada@example.org","rh":"0.A","sub":"s-2","tid":"t-1","uti":"v","ver":"2.0","groups":["g"],"roles":["r"],"_claim_names":{"x":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.example"}}}`,
	},
	"Auth0, the legacy profile": {
		accessTyp: "JWT",
		access:    `{"sub":"auth0|1","aud":["spa","https://tenant.example/userinfo"],"azp":"spa","scope":"openid profile email","gty":"password","permissions":["read:x"]}`,
		id:        `{"nickname":"ada","name":"ada@example.org","picture":"https://p.example","updated_at":"2026-01-01T00:00:00.000Z","email":"ada@example.org","email_verified":true,"aud":"spa","sub":"auth0|1","sid":"6b","https://example.org/roles":["r"]}`,
	},
	"Auth0, RFC 9068": {
		accessTyp: "at+jwt",
		access:    `{"sub":"auth0|2","aud":["spa"],"client_id":"spa","scope":"openid","jti":"4","permissions":[]}`,
	},
	"Okta": {
		accessTyp: "JWT",
		access:    `{"ver":1,"jti":"AT.1","aud":"spa","cid":"spa","uid":"00u1","scp":["openid","profile"],"auth_time":1,"sub":"ada@example.org"}`,
		id:        `{"sub":"00u1","name":"Ada","email":"ada@example.org","email_verified":true,"ver":1,"aud":"spa","jti":"ID.1","amr":["pwd"],"idp":"00o1","preferred_username":"ada@example.org","auth_time":1}`,
	},
	"Google": { // its access tokens are opaque
		id: `{"azp":"spa","aud":"spa","sub":"1084","hd":"example.org","email":"ada@example.org","email_verified":true,"name":"Ada","picture":"https://p.example","given_name":"Ada","jti":"5"}`,
	},
	"Zitadel": {
		accessTyp: "JWT",
		access:    `{"sub":"2001","aud":["spa","2002"],"nbf":1,"client_id":"spa","jti":"V2_1-at_2"}`,
		id:        `{"sub":"2001","aud":["spa","2002"],"auth_time":1,"amr":["pwd"],"azp":"spa","client_id":"spa","sid":"V1_7","name":"Ada","preferred_username":"ada","urn:zitadel:iam:org:project:roles":{"admin":{"1":"example.org"}}}`,
	},
	"Authentik": {
		accessTyp: "JWT", carriesNonce: true,
		access: `{"sub":"9f","aud":"spa","auth_time":1,"acr":"goauthentik.io/providers/oauth2/default","amr":["pwd"],"email":"ada@example.org","email_verified":true,"preferred_username":"ada","groups":["staff"],"azp":"spa","uid":"x","scope":"openid email profile"}`,
		id:     `{"sub":"9f","aud":"spa","auth_time":1,"acr":"goauthentik.io/providers/oauth2/default","amr":["pwd"],"email":"ada@example.org","email_verified":true,"preferred_username":"ada","groups":["staff"],"uid":"y"}`,
	},
	"a client's own token, Keycloak": {
		accessTyp: "JWT",
		access:    `{"jti":"6","aud":["spa","account"],"sub":"sa-1","typ":"Bearer","azp":"spa","scope":"email profile","clientHost":"192.0.2.1","preferred_username":"service-account-spa","client_id":"spa"}`,
	},
	"a client's own token, Entra ID": {
		accessTyp: "JWT",
		access:    `{"aud":"spa","nbf":1,"azp":"spa","azpacr":"1","oid":"o-3","sub":"o-3","roles":["run"],"tid":"t-1","uti":"w","ver":"2.0"}`,
	},
	"UAA, with scopes in its id token": {
		id: `{"sub":"7c","aud":["spa"],"azp":"spa","cid":"spa","client_id":"spa","scope":["openid"],"grant_type":"authorization_code","zid":"uaa","origin":"uaa","user_name":"ada","rev_sig":"a"}`,
	},
}

// TestExchangeAcceptsOnlyIDTokens checks that the access token of every issuer is refused in every
// combination, and that the id token is accepted if the caller proves that it belongs to it.
func TestExchangeAcceptsOnlyIDTokens(t *testing.T) {
	t.Parallel()
	op := newIssuer(t)
	s := newServed(t, "http", "providers:", `  corp: {kind: oidc, issuer: "`+op.URL+`", client_id: tokenbroker, allowed_client_ids: [spa], exchange: true}`).start(t)
	for name, of := range tokensOf {
		t.Run(name, func(t *testing.T) {
			user := newBrowser(t, s.issuer)
			nonce := user.nonce()
			access := "ya29.a0AfH6SNotAJWT-" + strings.Repeat("x", 120)
			if of.access != "" {
				var more map[string]any
				if of.carriesNonce {
					more = map[string]any{"nonce": nonce}
				}
				access = op.sign(t, of.accessTyp, of.access, more)
			}
			for how, got := range map[string]string{
				"without another token": user.exchange(access, ""), "with itself": user.exchange(access, access), "with another": user.exchange(access, "opaque"),
			} {
				if got != "401 upstream_token_invalid" && got != "401 id_token_unproven" {
					t.Errorf("the access token %s: %s", how, got)
				}
			}
			if of.id == "" {
				return
			}
			hash, own := map[string]any{"at_hash": atHash(access)}, map[string]any{"nonce": nonce}
			for _, step := range []struct {
				what         string
				with         map[string]any
				access, want string
			}{
				{"without a mark", nil, "", "401 id_token_unproven"},
				{"with an unrelated access token", nil, access, "401 id_token_unproven"},
				{"with at_hash and no access token", hash, "", "401 id_token_unproven"},
				{"with at_hash of another access token", map[string]any{"at_hash": atHash("x")}, access, "401 upstream_token_invalid"},
				{"with a nonce that is not the broker's", map[string]any{"nonce": "n-0S6_WzA2Mj"}, "", "401 id_token_unproven"},
				{"with at_hash and its access token", hash, access, "200"},
				{"with the broker's nonce", own, "", "200"},
			} {
				want := step.want
				if strings.Contains(of.id, `"scope"`) && step.access == "" {
					want = "401 upstream_token_invalid" // an access token could be the same
				}
				if got := user.exchange(op.sign(t, "JWT", of.id, step.with), step.access); got != want {
					t.Errorf("the id token %s: %s, want %s", step.what, got, want)
				}
			}
		})
	}
	s.finish(t)
}

// TestExchangeNonce covers two tabs, another browser, a replay and a wrong typ over HTTP.
func TestExchangeNonce(t *testing.T) {
	t.Parallel()
	op := newIssuer(t)
	s := newServed(t, "http", "providers:", `  corp: {kind: oidc, issuer: "`+op.URL+`", client_id: spa, exchange: true}`).start(t)
	id := func(nonce, more string) string {
		return op.sign(t, "JWT", fmt.Sprintf(`{"aud":"spa","sub":"ada","nonce":%q%s}`, nonce, more), nil)
	}
	user, other := newBrowser(t, s.issuer), newBrowser(t, s.issuer)
	first, second := user.nonce(), user.nonce() // of two tabs
	for _, step := range []struct {
		what, got, want string
	}{
		{"another browser", other.exchange(id(first, ""), ""), "401 exchange_nonce_invalid"},
		{"another browser with a nonce of its own", func() string { other.nonce(); return other.exchange(id(first, ""), "") }(), "401 exchange_nonce_invalid"},
		{"a header typ of another kind", user.exchange(op.sign(t, "at+jwt", `{"aud":"spa","sub":"ada"}`, map[string]any{"nonce": first}), ""), "401 upstream_token_invalid"},
		{"a log-out token", user.exchange(id(first, `,"events":{}`), ""), "401 upstream_token_invalid"},
		{"an access token's claim", user.exchange(id(first, `,"scp":"x"`), ""), "401 upstream_token_invalid"},
		{"a claim in two cases", user.exchange(id(first, `,"Sub":"eve"`), ""), "401 upstream_token_invalid"},
		{"the second tab", user.exchange(id(second, ""), ""), "200"},
		{"the first tab", user.exchange(id(first, ""), ""), "200"},
		{"another id token with the nonce", user.exchange(id(first, `,"jti":"2"`), ""), "401 exchange_nonce_used"},
	} {
		if step.got != step.want {
			t.Errorf("%s: %s, want %s", step.what, step.got, step.want)
		}
	}
	token := id(user.nonce(), "")
	if got := user.exchange(token, "") + ", " + user.exchange(token, ""); got != "200, 401 token_already_used" {
		t.Errorf("one token twice: %s", got)
	}
	s.finish(t)
}

// TestExchangeIsOffByDefaultForPlainIssuers checks the default; for Cognito the exchange is on.
func TestExchangeIsOffByDefaultForPlainIssuers(t *testing.T) {
	t.Parallel()
	op := newIssuer(t)
	s := newServed(t, "http", "providers:", `  corp: {kind: oidc, issuer: "`+op.URL+`", client_id: spa}`).start(t)
	user := newBrowser(t, s.issuer)
	raw := op.sign(t, "JWT", `{"aud":"spa","sub":"ada"}`, map[string]any{"at_hash": atHash("a"), "nonce": user.nonce()})
	if got := user.exchange(raw, "a"); got != "403 exchange_disabled" {
		t.Errorf("got %s", got)
	}
	s.finish(t)
}
