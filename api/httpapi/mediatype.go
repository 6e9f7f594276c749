package httpapi

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// Accept has the quality values of the media ranges that a request accepts (RFC 9110 §12.5.1).
type Accept map[string]float64

// ParseAccept reads the Accept header. It ignores media ranges that cannot be read and
// parameters other than q.
func ParseAccept(header http.Header) Accept {
	var a Accept
	for _, line := range header["Accept"] {
		for item := range splitList(line) {
			a.add(item)
		}
	}
	return a
}

func (a *Accept) add(item string) {
	mediaRange, params, err := mime.ParseMediaType(item)
	if err != nil {
		return
	}
	q := 1.0
	if text, given := params["q"]; given {
		if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
			return
		}
	}
	if *a == nil {
		*a = Accept{}
	}
	(*a)[mediaRange] = max(q, (*a)[mediaRange])
}

// Quality returns that of the most specific range that has the media type.
func (a Accept) Quality(mediaType string) float64 {
	family, _, _ := strings.Cut(mediaType, "/")
	for _, mediaRange := range []string{mediaType, family + "/*", "*/*"} {
		if q, found := a[mediaRange]; found {
			return q
		}
	}
	return 0
}

// PrefersHTML reports whether Accept prefers text/html to problem+json, as a browser does when it
// opens a page. The */* of curl and fetch, and a missing Accept, prefer neither.
func PrefersHTML(r *http.Request) bool {
	accept := ParseAccept(r.Header)
	return accept.Quality("text/html") > max(accept.Quality("application/problem+json"), accept.Quality("application/json"))
}

// splitList splits a header's list at its commas, but not inside quotes (RFC 9110 §5.6.1).
func splitList(line string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		quoted, escaped, start := false, false, 0
		for i := range len(line) {
			switch c := line[i]; {
			case escaped:
				escaped = false
			case quoted && c == '\\':
				escaped = true
			case c == '"':
				quoted = !quoted
			case c == ',' && !quoted:
				if !yield(line[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(line[start:])
	}
}

// MediaType returns the media type of the request's body in lower case and its charset. kind is
// empty unless the request has exactly one Content-Type that can be read.
func MediaType(h http.Header) (kind, charset string) {
	sent := h.Values("Content-Type")
	if len(sent) != 1 {
		return "", ""
	}
	kind, params, err := mime.ParseMediaType(sent[0])
	if err != nil {
		return "", ""
	}
	return kind, params["charset"]
}

// isUTF8 reports whether a text of that charset is UTF-8: the name in its usual spellings,
// ASCII, or an empty charset.
func isUTF8(charset string) bool {
	switch strings.NewReplacer("-", "", "_", "", "'", "").Replace(strings.ToLower(charset)) {
	case "", "utf8", "ascii", "usascii":
		return true
	}
	return false
}
