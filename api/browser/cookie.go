package browser

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// refreshCookie reads and writes the cookie that holds the refresh token.
type refreshCookie struct {
	httpapi.Cookie
	name string // with its prefix
}

func newRefreshCookie(c httpapi.Cookie) refreshCookie { return refreshCookie{c, c.PrefixedName()} }

// optionalSpace is the white space that may surround a cookie's name and value. Other white space
// must not be trimmed: browsers regard a name such as U+2000 and "__Host-x" as unprefixed, and it
// would be taken for a prefixed one.
const optionalSpace = " \t"

// values returns the value of each cookie of that name. It parses the header itself because
// net/http silently drops a cookie with a malformed value.
func (c refreshCookie) values(r *http.Request) []string {
	var values []string
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if name, value, _ := strings.Cut(pair, "="); strings.Trim(name, optionalSpace) == c.name {
				values = append(values, strings.Trim(value, optionalSpace))
			}
		}
	}
	return values
}

// read returns the cookie's value, or "" if there is none. Two cookies of that name are
// refused: another host of the site may have planted one, and the broker cannot know which.
func (c refreshCookie) read(r *http.Request) (string, error) {
	switch values := c.values(r); len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", &broker.Error{Code: httpapi.CodeDuplicateCookie, Message: "the refresh cookie occurs more than once, so nothing was changed; delete the cookies of this site"}
	}
}

// readForLogOff is like read, but returns duplicates of a cookie that another host can plant:
// a log-off can end the sessions of all of them.
func (c refreshCookie) readForLogOff(r *http.Request) (token string, duplicates []string, err error) {
	if values := c.values(r); len(values) > 1 && strings.HasPrefix(c.name, httpapi.SecurePrefix) {
		return values[0], values[1:], nil
	}
	token, err = c.read(r)
	return token, nil, err
}

// set stores token for maxAge, cut to whole seconds and at least one.
func (c refreshCookie) set(w http.ResponseWriter, token string, maxAge time.Duration) {
	c.write(w, token, max(1, int(maxAge/time.Second)))
}

// open is set for a new session; it also removes the cookie that this one replaced.
func (c refreshCookie) open(w http.ResponseWriter, token string, maxAge time.Duration) {
	c.set(w, token, maxAge)
	c.clearReplaced(w)
}

// clear removes the cookie, and the one that it replaced.
func (c refreshCookie) clear(w http.ResponseWriter) {
	c.write(w, "", -1)
	c.clearReplaced(w)
}

// clearReplaced removes the cookie that a browser still holds from before the path became "/".
// It is never read.
func (c refreshCookie) clearReplaced(w http.ResponseWriter) {
	if strings.HasPrefix(c.name, httpapi.HostPrefix) {
		newRefreshCookie(httpapi.Cookie{Name: c.Name, Path: httpapi.AuthPath}).write(w, "", -1)
	}
}

func (c refreshCookie) write(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure is configured, and only dev leaves it out
		Name: c.name, Value: value, Path: c.Path, MaxAge: maxAge,
		HttpOnly: true, Secure: !c.Insecure, SameSite: http.SameSiteStrictMode,
	})
}

// maxLogins is how many login attempts a browser may have open at once.
const maxLogins = 5

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

// set adds an attempt and removes the oldest ones over the limit; browsers send the oldest first.
func (l attemptCookies) set(w http.ResponseWriter, r *http.Request, suffix, value string) {
	var open []string
	for _, c := range r.Cookies() {
		if s, ok := strings.CutPrefix(c.Name, l.prefix); ok && !slices.Contains(open, s) {
			open = append(open, s)
		}
	}
	for len(open) >= maxLogins {
		l.clear(w, open[0])
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
