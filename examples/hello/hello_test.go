package hello_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenbroker/examples/hello"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
)

func TestHello(t *testing.T) {
	issuer := validatortest.New(t)
	v, err := validator.New(t.Context(), issuer.Config("demo-api"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	resource := hello.Resource("https://hello.example.com/", issuer.URL())
	service := hello.Handler(v, httpauth.AllowOrigins("https://app.example.com"), httpauth.ProtectedResource(resource))
	get := func(token string) (int, string) {
		r := httptest.NewRequest("GET", "/hello", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Body)
		return w.Code, string(body)
	}

	ada := issuer.Mint(validatortest.Claims{"aud": "demo-api", "sub": "ada", "sid": "s1", "scope": "hello:read"})
	if status, body := get(ada); status != http.StatusOK || !strings.Contains(body, `"hello":"ada"`) {
		t.Errorf("a good token: %d %s", status, body)
	}
	if status, body := get(issuer.Mint(validatortest.Claims{"aud": "demo-api"})); status != http.StatusForbidden {
		t.Errorf("a token without the scope: %d %s", status, body)
	}
	issuer.RevokeSession("s1")
	validatortest.Await(t, v, ada, validator.ErrRevoked)
	if status, body := get(ada); status != http.StatusUnauthorized || !strings.Contains(body, "token_revoked") {
		t.Errorf("after the log-off: %d %s", status, body)
	}

	anonymous := httptest.NewRecorder()
	service.ServeHTTP(anonymous, httptest.NewRequest("GET", "/hello", nil))
	const challenge = `Bearer realm="api", resource_metadata="https://hello.example.com/.well-known/oauth-protected-resource", scope="hello:read"`
	if got := anonymous.Header().Get("WWW-Authenticate"); anonymous.Code != http.StatusUnauthorized || got != challenge {
		t.Errorf("without a token: %d %s", anonymous.Code, got)
	}

	preflight := httptest.NewRequest("OPTIONS", "/hello", nil)
	preflight.Header.Set("Origin", "https://app.example.com")
	preflight.Header.Set("Access-Control-Request-Method", "GET")
	w := httptest.NewRecorder()
	service.ServeHTTP(w, preflight)
	if w.Code != http.StatusNoContent {
		t.Errorf("a pre-flight: %d", w.Code)
	}
}
