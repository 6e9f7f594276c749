package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/upstream/devidp"
)

// TestServeWithAProviderAndClaimsOfItsConfiguration configures a provider, claims and the user object,
// signs in through the provider, and checks that each refresh evaluates the claims again.
func TestServeWithAProviderAndClaimsOfItsConfiguration(t *testing.T) {
	t.Parallel()
	s := newServed(t, "http")
	var pool http.Handler
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pool.ServeHTTP(w, r) }))
	defer idp.Close()
	server, err := devidp.New(devidp.Config{
		Issuer: idp.URL + "/" + devserver.Pool, Users: devidp.DevUsers(),
		Clients: []devidp.Client{{ID: devserver.EmulatorClient, RedirectURIs: []string{s.issuer + "/auth/callback/corp/"}, LogoutURIs: []string{s.issuer + "/"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	pool = server.Handler()
	s.append(t, `
providers:
  corp: {kind: oidc, issuer: "`+idp.URL+"/"+devserver.Pool+`", client_id: `+devserver.EmulatorClient+`}
claims:
  attributes: [email]
  computed:
    plan: '"plan" in user.attributes ? user.attributes.plan : "free"'
    via: 'identity.provider == "" ? "password" : identity.provider'
user_object: [username, email, phone_number]
`)
	s.start(t)

	b := newBrowser(t, s.issuer)
	b.hostedUI("ada", "ada")
	session := b.get("/auth/session/", http.StatusOK)
	user, _ := session["user"].(map[string]any)
	if len(user) != 2 || user["username"] != "ada" || !strings.Contains(fmt.Sprint(user["email"]), "@") {
		t.Errorf("user %v", user)
	}
	csrf, _ := session["CSRF_token"].(string)
	refresh := func() map[string]any {
		t.Helper()
		return claimsOf(t, b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusOK)["access_token"].(string))
	}
	claims := refresh()
	if claims["plan"] != "free" || claims["via"] != "corp" || claims["email"] != user["email"] {
		t.Errorf("claims %v", claims)
	}
	uid := claims["sub"].(string)
	s.operate(t, terminal.ExitOK, "users", "set", uid, "--attribute", "plan=gold", "--role", "auditor")
	if claims = refresh(); claims["plan"] != "gold" || fmt.Sprint(claims["roles"]) != "[auditor]" {
		t.Errorf("claims after the change %v", claims)
	}
	s.operate(t, terminal.ExitOK, "revoke", "sub", uid, "--reason", "revoked", "--note", "lost laptop")
	if problem := b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusUnauthorized); problem["code"] != "session_revoked" {
		t.Errorf("refresh after the revoke: %v", problem)
	}
	s.finish(t)
}

// claimsOf returns a token's claims without verifying it.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %q", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
