package api

import (
	"net/http"
	"strings"
	"time"

	"tokenbroker/broker"
)

// refreshCookie reads and writes the cookie that holds the refresh token.
type refreshCookie struct {
	name, path string
	secure     bool
}

// newRefreshCookie adds the prefix that binds the name to Secure (RFC 6265bis §4.1.3).
func newRefreshCookie(name, path string, secure bool) refreshCookie {
	switch {
	case secure && path == "/":
		name = "__Host-" + name
	case secure:
		name = "__Secure-" + name
	}
	return refreshCookie{name: name, path: path, secure: secure}
}

// read returns the cookie's value, or "" when there is none. Two of that name are refused:
// a neighbour of the same site may have planted one, and nothing tells which is ours.
// It counts by itself because net/http drops a cookie with a malformed value silently.
func (c refreshCookie) read(r *http.Request) (string, error) {
	var value string
	found := 0
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
			if strings.TrimSpace(name) == c.name {
				value = strings.TrimSpace(v)
				found++
			}
		}
	}
	if found > 1 {
		return "", &broker.Error{Code: CodeDuplicateCookie, Message: "the refresh cookie came more than once; nothing was changed"}
	}
	return value, nil
}

// set stores token for maxAge, cut to whole seconds and at least one.
func (c refreshCookie) set(w http.ResponseWriter, token string, maxAge time.Duration) {
	c.write(w, token, max(1, int(maxAge/time.Second)))
}

// clear removes the cookie.
func (c refreshCookie) clear(w http.ResponseWriter) { c.write(w, "", -1) }

func (c refreshCookie) write(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure is configured, and only dev leaves it out
		Name: c.name, Value: value, Path: c.path, MaxAge: maxAge,
		HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteStrictMode,
	})
}

// validCookieName takes a part of RFC 9110's token and leaves the prefixes to [newRefreshCookie].
func validCookieName(name string) bool {
	return !strings.HasPrefix(name, "__") && strings.IndexFunc(name, func(c rune) bool {
		return c == '.' || notInID(c)
	}) < 0
}
