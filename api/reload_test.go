package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenbroker/api"
)

// A reload takes an origin away and adds another between two requests; a bad list changes nothing.
func TestOriginsAreReplacedWhileServing(t *testing.T) {
	cfg := config(&fake{})
	cfg.Origins = []string{"http://127.0.0.1:5173"}
	public, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	status := func(origin string) int {
		r := httptest.NewRequest("POST", "/auth/sign-in/", strings.NewReader(`{"username":"a","password":"b"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", origin)
		return serve(public, r).StatusCode
	}
	const before, after = "http://127.0.0.1:5173", "http://127.0.0.1:5174"
	expect := func(origin string, want int) {
		t.Helper()
		if got := status(origin); got != want {
			t.Errorf("%s: %d, want %d", origin, got, want)
		}
	}
	expect(before, http.StatusOK)
	expect(after, http.StatusForbidden)
	if err := public.SetOrigins([]string{after, "https://elsewhere.example"}); err == nil {
		t.Error("an origin of another site was taken")
	}
	expect(before, http.StatusOK)
	if err := public.SetOrigins([]string{after}); err != nil {
		t.Fatal(err)
	}
	expect(before, http.StatusForbidden)
	expect(after, http.StatusOK)
}
