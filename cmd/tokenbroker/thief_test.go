package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestThiefIsCaught copies the cookie of a jar, which like a browser sends it to all ports of the host.
func TestThiefIsCaught(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	b := newBrowser(t, dev.issuer)
	answer := b.post("/auth/sign-in/", `{"username": "admin", "password": "admin"}`, http.StatusOK)
	csrf, access := answer["CSRF_token"].(string), answer["access_token"].(string)
	thiefAt := dev.samples[2] + thiefPath

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
		var answer thiefAnswer
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

// TestThiefReturnsNoToken: a copy that is used at once works, and the page does not see what it got.
func TestThiefReturnsNoToken(t *testing.T) {
	t.Parallel()
	broker := http.NewServeMux()
	broker.HandleFunc("GET /auth/session/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"CSRF_token":"the-csrf","sub":"x"}`)
	})
	broker.HandleFunc("POST /auth/refresh/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Cookie") != "refresh_cookie=the-cookie" || string(body) != `{"CSRF_token":"the-csrf"}` || r.Header.Get("Origin") != "" {
			t.Errorf("the thief sent %s %v", body, r.Header)
		}
		_, _ = io.WriteString(w, `{"access_token":"the-access-token","code":"x"}`)
	})
	at := httptestServer(t, broker)
	page := httptestServer(t, besideThief(newThief(at), http.NotFoundHandler()))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(u, []*http.Cookie{{Name: devCookie, Value: "the-cookie", Path: "/auth"}, {Name: "other", Value: "y", Path: "/"}})
	for _, path := range []string{"", "use/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page+thiefPath+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", at)
		res, err := (&http.Client{Jar: jar}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if strings.TrimSpace(string(body)) != `{"status":200}` || len(res.Cookies()) > 0 {
			t.Errorf("%q: %s %v", path, body, res.Cookies())
		}
	}
}

func httptestServer(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}
