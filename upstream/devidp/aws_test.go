package devidp_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"

	"tokenbroker/upstream/devidp"
)

// TestAWSLibraryVerifiesTokens checks tokens of a pool at Amazon's address with npm's aws-jwt-verify: it
// accepts valid tokens and detects each fault.
func TestAWSLibraryVerifiesTokens(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	if _, err := os.Stat("testdata/awsjwtverify/node_modules"); err != nil {
		t.Skip("aws-jwt-verify is not installed: npm ci --prefix upstream/devidp/testdata/awsjwtverify")
	}
	const poolID = "us-east-1_devpool01"
	pool, err := devidp.New(devidp.Config{
		Issuer: "https://cognito-idp.us-east-1.amazonaws.com/" + poolID, Users: devidp.DevUsers(), Clients: []devidp.Client{{ID: "dev-client"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := httptest.NewRecorder()
	pool.Handler().ServeHTTP(keys, httptest.NewRequest(http.MethodGet, "/"+poolID+"/.well-known/jwks.json", nil))

	type entry struct {
		Use   string `json:"use"`
		Token string `json:"token"`
	}
	entries, want := map[string]entry{}, map[string]string{}
	add := func(name, user string, f devidp.Faults, id, access string) {
		pool.Set(f)
		tokens, err := pool.TokensFor(user, "dev-client")
		if err != nil {
			t.Fatal(err)
		}
		entries[name+" id"], want[name+" id"] = entry{"id", tokens.ID}, id
		entries[name+" access"], want[name+" access"] = entry{"access", tokens.Access}, access
	}
	add("admin", "admin", devidp.Faults{}, "ok", "ok")
	add("ada", "ada", devidp.Faults{}, "ok", "ok")
	add("issuer", "ada", devidp.Faults{WrongIssuer: true}, "JwtInvalidIssuerError", "JwtInvalidIssuerError")
	add("audience", "ada", devidp.Faults{WrongAudience: true}, "CognitoJwtInvalidClientIdError", "ok")
	add("use", "ada", devidp.Faults{WrongUse: true}, "CognitoJwtInvalidTokenUseError", "CognitoJwtInvalidTokenUseError")
	add("expired", "ada", devidp.Faults{Expired: true}, "JwtExpiredError", "JwtExpiredError")
	add("kid", "ada", devidp.Faults{UnknownKID: true}, "KidNotFoundInJwksError", "KidNotFoundInJwksError")

	input, err := json.Marshal(map[string]any{"pool": poolID, "client": "dev-client", "jwks": json.RawMessage(keys.Body.Bytes()), "tokens": entries})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "verify.mjs")
	cmd.Dir, cmd.Stdin = "testdata/awsjwtverify", bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	var got map[string]string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for name, verdict := range want {
		if got[name] != verdict {
			t.Errorf("%s: %q, want %q", name, got[name], verdict)
		}
	}
}
