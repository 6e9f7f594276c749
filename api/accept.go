package api

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// prefersHTML reports whether Accept prefers text/html to problem+json (RFC 9110 §12.5.1), as
// that of a browser which opens a page does. The */* of curl and fetch, and no Accept at all,
// prefer neither.
func prefersHTML(r *http.Request) bool {
	var accept accepted
	for _, line := range r.Header.Values("Accept") {
		for item := range splitList(line) {
			accept.add(item)
		}
	}
	return accept.quality("text/html") > max(accept.quality("application/problem+json"), accept.quality("application/json"))
}

// accepted are the quality values of media ranges.
type accepted map[string]float64

// add takes one media range. One that cannot be read is left out, and so is a parameter other
// than q: no answer here differs by one.
func (a *accepted) add(item string) {
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
		*a = accepted{}
	}
	(*a)[mediaRange] = max(q, (*a)[mediaRange])
}

// quality is that of the most specific range which has the media type.
func (a accepted) quality(mediaType string) float64 {
	family, _, _ := strings.Cut(mediaType, "/")
	for _, mediaRange := range []string{mediaType, family + "/*", "*/*"} {
		if q, found := a[mediaRange]; found {
			return q
		}
	}
	return 0
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
