package browser

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/origin"
	"tokenbroker/broker"
)

// The longest return_to of SPAs, and the longest authorization request with the broker's own parameters. Both keep the
// sealed login state within the size of one cookie.
const (
	maxReturnTo  = 512
	maxAuthorize = len(httpapi.AuthorizePath) + broker.MaxAuthorizationQuery + 256
)

// longestReturn returns the length of the longest return_to like escaped. A shorter authorization request would be
// another one, so they are not cut to a page of the SPA.
func longestReturn(escaped string) int {
	if strings.HasPrefix(escaped, httpapi.AuthorizePath+"?") {
		return maxAuthorize
	}
	return maxReturnTo
}

// returnTo returns where a login with the return_to text ends: at text, escaped where it is not
// ASCII, or at the root of its origin if it is too long. If text is empty, it is Home.
func (h *Handler) returnTo(text string) (string, error) {
	if text == "" {
		return h.Home(), nil
	}
	u, err := h.checkReturn(text)
	switch {
	case err != nil:
		return "", err
	case len(escapeText(text)) <= longestReturn(escapeText(text)):
		return escapeText(text), nil
	case u.Host == "":
		return "/", nil
	}
	return origin.Of(u) + "/", nil
}

// checkReturn accepts an absolute path or a URL of an allowed origin, of any length. It refuses
// everything that a browser might read as another host: "//", "/\", white space, control
// characters, and characters that look like a slash. The fragment does not name a host, and a SPA
// may use it for its route; it only has to be printable.
func (h *Handler) checkReturn(text string) (*url.URL, error) {
	refuse := &broker.Error{Code: httpapi.CodeInvalidReturn, Message: "return_to must be an absolute path or a URL of a configured origin"}
	target, fragment, _ := strings.Cut(text, "#")
	if !utf8.ValidString(text) || strings.ContainsFunc(target, notInReturn) || strings.ContainsFunc(fragment, unprintable) {
		return nil, refuse
	}
	// As the browser gets it: ASCII (RFC 3986 §2). In a host, an escape matches no origin.
	u, err := url.Parse(escapeText(target))
	if err != nil || u.User != nil || u.Opaque != "" {
		return nil, refuse
	}
	if u.Scheme == "" && u.Host == "" {
		if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.HasPrefix(u.Path, "//") || strings.ContainsRune(u.Path, '\\') || hidesHost(u.Path) {
			return nil, refuse
		}
		return u, nil
	}
	if !h.site.Allows(origin.Of(u)) {
		return nil, refuse
	}
	return u, nil
}

// hidesHost reports whether a path can become one that begins with "//": /.//host and /a/..//host do
// where a proxy on the way, or the page that reads its own path, removes the dot segments (RFC 3986 §5.2.4).
func hidesHost(path string) bool {
	return strings.Contains(path, "//") && slices.ContainsFunc(strings.Split(path, "/"), func(segment string) bool { return segment == "." || segment == ".." })
}

// notInReturn reports whether c is refused in a return_to: a backslash, what does not print,
// and the characters that Unicode maps to a slash or a backslash.
func notInReturn(c rune) bool {
	return unprintable(c) || strings.ContainsRune("\\／＼﹨⁄∕⧵⧸", c)
}

func unprintable(c rune) bool { return c == ' ' || !unicode.IsPrint(c) }

// escapeText escapes what is not ASCII, as browsers do (RFC 3987 §3.1).
func escapeText(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// withError adds the parameter error to a checked return_to, in the place of an older one;
// the rest of the query is the SPA's and stays as it is.
func withError(returnTo string, code broker.Code) string {
	target, fragment, hasFragment := strings.Cut(returnTo, "#")
	u, err := url.Parse(target)
	if err != nil {
		return "/?error=" + url.QueryEscape(string(code))
	}
	pairs := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == "error" || u.RawQuery == ""
	})
	u.RawQuery = strings.Join(append(pairs, "error="+url.QueryEscape(string(code))), "&")
	if hasFragment {
		return u.String() + "#" + fragment
	}
	return u.String()
}
