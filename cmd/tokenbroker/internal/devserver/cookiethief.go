package devserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	// CookieThiefPath is below the path of the refresh cookie.
	CookieThiefPath = "/auth/stolen-cookie/"
	// refreshCookie is the name of the refresh cookie.
	refreshCookie = "refresh_cookie"
	// maxThiefRead is the maximum size of an answer of the broker, in bytes.
	maxThiefRead = 64 << 10
)

// thief is a program on another port of dev's machine that shows what a copy of the refresh cookie
// is worth. A browser sends the cookies of a host to all of its ports, so the thief receives the
// cookie although it is HttpOnly. It knows only the broker's public endpoints and returns no token.
type thief struct {
	broker  string
	origins []string // of the demo page
	client  *http.Client

	mu sync.Mutex // guards what was stolen last
	stolen
}

// stolen is a copy of the cookie's value, with the CSRF token that the broker returned for it.
type stolen struct{ cookie, csrf string }

func newThief(issuer string) *thief {
	t := &thief{broker: issuer, origins: []string{issuer}, client: &http.Client{Timeout: 10 * time.Second}}
	if u, err := url.Parse(issuer); err == nil {
		t.origins = append(t.origins, "http://localhost:"+u.Port())
	}
	return t
}

// besideThief returns a handler that serves the thief below CookieThiefPath and next elsewhere.
func besideThief(t *thief, next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc("POST "+CookieThiefPath+"{$}", t.forPage(t.steal))
	mux.HandleFunc("POST "+CookieThiefPath+"use/{$}", t.forPage(t.use))
	return mux
}

// thiefAnswer is the answer to the page: the broker's status and error code.
type thiefAnswer struct {
	Status int    `json:"status"`
	Code   string `json:"code,omitempty"`
}

// forPage refuses requests that do not come from the demo page.
func (t *thief) forPage(f func(*http.Request) (thiefAnswer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Vary", "Origin")
		from := r.Header.Values("Origin")
		if len(from) != 1 || !slices.Contains(t.origins, from[0]) {
			http.Error(w, "only for the demo page", http.StatusForbidden)
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", from[0])
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		answer, err := f(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// steal keeps a copy of the request's cookie, and asks the broker for its CSRF token.
func (t *thief) steal(r *http.Request) (thiefAnswer, error) {
	cookie, err := r.Cookie(refreshCookie)
	if err != nil {
		return thiefAnswer{Status: http.StatusUnauthorized, Code: "no_cookie"}, nil
	}
	var session struct {
		CSRF string `json:"CSRF_token"`
	}
	answer, err := t.ask(r, http.MethodGet, "/auth/session/", cookie.Value, nil, &session)
	if err != nil || answer.Status != http.StatusOK {
		return answer, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stolen = stolen{cookie.Value, session.CSRF}
	return answer, nil
}

// use asks the broker for tokens with the copied cookie.
func (t *thief) use(r *http.Request) (thiefAnswer, error) {
	t.mu.Lock()
	have := t.stolen
	t.stolen = stolen{}
	t.mu.Unlock()
	body, err := json.Marshal(map[string]string{"CSRF_token": have.csrf})
	if err != nil {
		return thiefAnswer{}, fmt.Errorf("encoding the request: %w", err)
	}
	return t.ask(r, http.MethodPost, "/auth/refresh/", have.cookie, body, nil)
}

// ask sends the broker a request with the cookie, and decodes a good answer into v unless it is nil.
func (t *thief) ask(r *http.Request, method, path, cookie string, body []byte, v any) (thiefAnswer, error) {
	req, err := http.NewRequestWithContext(r.Context(), method, t.broker+path, bytes.NewReader(body))
	if err != nil {
		return thiefAnswer{}, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Cookie", refreshCookie+"="+cookie)
	req.Header.Set("Content-Type", "application/json")
	res, err := t.client.Do(req)
	if err != nil {
		return thiefAnswer{}, fmt.Errorf("asking the broker: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	answer := thiefAnswer{Status: res.StatusCode}
	if res.StatusCode != http.StatusOK {
		v = &answer
	}
	if v == nil {
		return answer, nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxThiefRead)).Decode(v); err != nil {
		return thiefAnswer{}, fmt.Errorf("reading the broker's answer: %w", err)
	}
	answer.Status = res.StatusCode
	return answer, nil
}
