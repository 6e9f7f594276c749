package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/devserver"
)

// TestThiefIsCaught copies the cookie of a jar, which like a browser sends it to all ports of the host.
func TestThiefIsCaught(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	b := newBrowser(t, dev.issuer)
	answer := b.post("/auth/sign-in/", `{"username": "admin", "password": "admin"}`, http.StatusOK)
	csrf, access := answer["CSRF_token"].(string), answer["access_token"].(string)
	thiefAt := dev.samples[2] + devserver.CookieThiefPath

	ask := func(client *http.Client, origin, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, thiefAt+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Access-Control-Allow-Origin"); res.StatusCode == http.StatusOK && got != origin {
			t.Errorf("%s may be read by %q, want %q", path, got, origin)
		}
		return res.StatusCode, string(body)
	}
	code := func(body string) string {
		var answer struct {
			Code string `json:"code"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return answer.Code
	}

	for _, origin := range []string{"", "null", "http://127.0.0.1:1", "http://localhost", "https" + strings.TrimPrefix(dev.issuer, "http")} {
		for _, path := range []string{"", "use/"} {
			if status, _ := ask(b.client, origin, path); status != http.StatusForbidden {
				t.Errorf("%q from %q: %d", path, origin, status)
			}
		}
	}
	if _, body := ask(http.DefaultClient, dev.issuer, ""); code(body) != "no_cookie" {
		t.Errorf("without a cookie: %s", body)
	}
	if _, body := ask(http.DefaultClient, dev.issuer, "use/"); code(body) == "" {
		t.Errorf("before a theft: %s", body)
	}

	_, body := ask(b.client, dev.issuer, "")
	if strings.TrimSpace(body) != `{"status":200}` {
		t.Errorf("the theft: %s", body)
	}
	for range 5 {
		b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusOK)
	}
	if _, body := ask(b.client, dev.issuer, "use/"); code(body) != "refresh_token_reused" {
		t.Errorf("the use of the copy: %s", body)
	}
	for _, sample := range dev.samples {
		eventually(t, "the service refuses the owner's token", func() bool {
			status, body := callHello(t, sample, access)
			return status == http.StatusUnauthorized && strings.Contains(body, "token_revoked")
		})
	}
	b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusUnauthorized)
	dev.finish(t)
}
