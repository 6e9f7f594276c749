package browser

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// The login attempts that a browser may have open at once, and the bytes of their cookies, which it sends with each request.
const (
	maxLogins     = 5
	maxLoginBytes = 9 << 10
)

// attemptCookies bind login attempts to a browser, one cookie for each attempt: sealed login
// states, or nonces for an exchange. The prefix __Host- (RFC 6265bis §4.1.3.2), which requires the
// path /, keeps a neighbouring subdomain from planting one, whose login would end in this browser.
type attemptCookies struct {
	prefix, path string
	insecure     bool
	sameSite     http.SameSite
	life         time.Duration
}

func newAttemptCookies(prefix string, insecure bool, sameSite http.SameSite, life time.Duration) attemptCookies {
	a := attemptCookies{prefix: prefix, path: httpapi.AuthPath, insecure: insecure, sameSite: sameSite, life: life}
	if !insecure {
		a.prefix, a.path = httpapi.HostPrefix+prefix, "/"
	}
	return a
}

// set adds an attempt and removes the oldest ones over the limits; browsers send the oldest first.
func (l attemptCookies) set(w http.ResponseWriter, r *http.Request, suffix, value string) {
	var open []*http.Cookie
	size := len(value)
	for _, c := range r.Cookies() {
		same := func(other *http.Cookie) bool { return other.Name == c.Name }
		if strings.HasPrefix(c.Name, l.prefix) && !slices.ContainsFunc(open, same) {
			open = append(open, c)
			size += len(c.Value)
		}
	}
	for len(open) >= maxLogins || len(open) > 0 && size > maxLoginBytes {
		l.clear(w, strings.TrimPrefix(open[0].Name, l.prefix))
		size -= len(open[0].Value)
		open = open[1:]
	}
	l.write(w, suffix, value, int(l.life.Seconds()))
}

func (l attemptCookies) read(r *http.Request, suffix string) (string, error) {
	switch found := r.CookiesNamed(l.prefix + suffix); len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0].Value, nil
	default:
		return "", &broker.Error{Code: httpapi.CodeDuplicateCookie, Message: "a cookie of this sign-in occurs twice; delete the cookies of this site and start again"}
	}
}

func (l attemptCookies) clear(w http.ResponseWriter, suffix string) { l.write(w, suffix, "", -1) }

func (l attemptCookies) write(w http.ResponseWriter, suffix, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure and SameSite are the caller's
		Name: l.prefix + suffix, Value: value, Path: l.path, MaxAge: maxAge,
		HttpOnly: true, Secure: !l.insecure, SameSite: l.sameSite,
	})
}
