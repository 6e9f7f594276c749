package httpapi

import (
	"net/http"
	"strings"
	"time"

	"tokenbroker/broker"
)

// RefreshCookie reads and writes the cookie that holds the refresh token.
type RefreshCookie struct {
	cookie Cookie
	name   string // with its prefix
}

// NewRefreshCookie returns the cookie of valid settings.
func NewRefreshCookie(c Cookie) RefreshCookie { return RefreshCookie{c, c.PrefixedName()} }

// optionalSpace is the white space that may surround a cookie's name and value. Other white space
// must not be trimmed: browsers regard a name such as U+2000 and "__Host-x" as unprefixed, and it
// would be taken for a prefixed one.
const optionalSpace = " \t"

// values returns the value of each cookie of that name. It parses the header itself because
// net/http silently drops a cookie with a malformed value.
func (c RefreshCookie) values(r *http.Request) []string {
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

// Read returns the cookie's value, or "" if there is none. Two cookies of that name are
// refused: another host of the site may have planted one, and the broker cannot know which.
func (c RefreshCookie) Read(r *http.Request) (string, error) {
	switch values := c.values(r); len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", &broker.Error{Code: CodeDuplicateCookie, Message: "the refresh cookie occurs more than once, so nothing was changed; delete the cookies of this site"}
	}
}

// ReadForLogOff is like [RefreshCookie.Read], but returns duplicates of a cookie that another host can plant:
// a log-off can end the sessions of all of them.
func (c RefreshCookie) ReadForLogOff(r *http.Request) (token string, duplicates []string, err error) {
	if values := c.values(r); len(values) > 1 && strings.HasPrefix(c.name, SecurePrefix) {
		return values[0], values[1:], nil
	}
	token, err = c.Read(r)
	return token, nil, err
}

// Set stores token for maxAge, cut to whole seconds and at least one.
func (c RefreshCookie) Set(w http.ResponseWriter, token string, maxAge time.Duration) {
	c.write(w, token, max(1, int(maxAge/time.Second)))
}

// Open is [RefreshCookie.Set] for a new session; it also removes the cookie that this one replaced.
func (c RefreshCookie) Open(w http.ResponseWriter, token string, maxAge time.Duration) {
	c.Set(w, token, maxAge)
	c.clearReplaced(w)
}

// Clear removes the cookie, and the one that it replaced.
func (c RefreshCookie) Clear(w http.ResponseWriter) {
	c.write(w, "", -1)
	c.clearReplaced(w)
}

// clearReplaced removes the cookie that a browser still holds from before the path became "/".
// It is never read.
func (c RefreshCookie) clearReplaced(w http.ResponseWriter) {
	if strings.HasPrefix(c.name, HostPrefix) {
		NewRefreshCookie(Cookie{Name: c.cookie.Name, Path: AuthPath}).write(w, "", -1)
	}
}

func (c RefreshCookie) write(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure is configured, and only dev leaves it out
		Name: c.name, Value: value, Path: c.cookie.Path, MaxAge: maxAge,
		HttpOnly: true, Secure: !c.cookie.Insecure, SameSite: http.SameSiteStrictMode,
	})
}
