package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
)

// The issuer is in this process: no broker, no NATS, no network but the loopback.
func TestGreetingRequiresAToken(t *testing.T) {
	issuer := validatortest.New(t)
	v, err := validator.New(t.Context(), issuer.Config("demo-api"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	handler := httpauth.Require(v, httpauth.Scope("hello:read"))(http.HandlerFunc(greet))
	status := func(token string) int {
		r := httptest.NewRequest(http.MethodGet, "/greet", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}

	token := issuer.Mint(validatortest.Claims{"sub": "ada", "sid": "s1", "scope": "hello:read"})
	if got := status(token); got != http.StatusOK {
		t.Errorf("a good token: status %d", got)
	}
	issuer.RevokeSession("s1")
	validatortest.Await(t, v, token, validator.ErrRevoked)
	if got := status(token); got != http.StatusUnauthorized {
		t.Errorf("after the log-off: status %d", got)
	}
}
