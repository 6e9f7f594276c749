package api

import (
	"net/http"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// refreshCookie reads and writes the cookie that holds the refresh token.
type refreshCookie struct{ httpapi.Cookie }

// optionalSpace is what may surround a cookie's name and value. To trim any other white space
// would take a name that browsers regard as unprefixed, such as U+2000 and "__Host-x", for a
// prefixed one.
const optionalSpace = " \t"

// values returns the value of each cookie of that name. It parses the header itself because
// net/http silently drops a cookie with a malformed value.
func (c refreshCookie) values(r *http.Request) []string {
	var values []string
	wanted := c.PrefixedName()
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if name, value, _ := strings.Cut(pair, "="); strings.Trim(name, optionalSpace) == wanted {
				values = append(values, strings.Trim(value, optionalSpace))
			}
		}
	}
	return values
}

// read returns the cookie's value, or "" if there is none. Two cookies of that name are
// refused: another host of the site may have planted one, and nothing tells which is ours.
func (c refreshCookie) read(r *http.Request) (string, error) {
	switch values := c.values(r); len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", &broker.Error{Code: CodeDuplicateCookie, Message: "the refresh cookie came more than once; nothing was changed"}
	}
}

// readForLogOff is like read, but returns duplicates of a cookie that another host can plant:
// a log-off can end the sessions of all of them.
func (c refreshCookie) readForLogOff(r *http.Request) (token string, duplicates []string, err error) {
	if values := c.values(r); len(values) > 1 && strings.HasPrefix(c.PrefixedName(), httpapi.SecurePrefix) {
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
	if strings.HasPrefix(c.PrefixedName(), httpapi.HostPrefix) {
		refreshCookie{httpapi.Cookie{Name: c.Name, Path: httpapi.AuthPath}}.write(w, "", -1)
	}
}

func (c refreshCookie) write(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure is configured, and only dev leaves it out
		Name: c.PrefixedName(), Value: value, Path: c.Path, MaxAge: maxAge,
		HttpOnly: true, Secure: !c.Insecure, SameSite: http.SameSiteStrictMode,
	})
}
