package devserver

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestThiefReturnsNoToken checks that a stolen cookie works if it is used at once, and that the page does
// not get the tokens.
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
	jar.SetCookies(u, []*http.Cookie{{Name: refreshCookie, Value: "the-cookie", Path: "/auth"}, {Name: "other", Value: "y", Path: "/"}})
	for _, path := range []string{"", "use/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page+CookieThiefPath+path, nil)
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
