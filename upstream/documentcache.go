package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// heuristicLife is how long a document is used whose answer does not have a lifetime (RFC 9111 §4.2.2).
const heuristicLife = 5 * time.Minute

// cacheHeaders are the headers that decide how long a document is used and how it is confirmed.
var cacheHeaders = []string{"Cache-Control", "Expires", "Date", "Age", "Vary", "Etag", "Last-Modified"}

func newDocument(body []byte, headers http.Header, requested, received time.Time) (doc *document, keep bool) {
	doc = &document{body: body, headers: http.Header{}, confirmed: received}
	for _, name := range cacheHeaders {
		if values := headers[name]; len(values) > 0 {
			doc.headers[name] = values
		}
	}
	life, keep := lifeOf(doc.headers, requested, received)
	doc.until = received.Add(life)
	return doc, keep
}

// confirm returns the document with the headers of an answer 304. Those that the answer does not have stay (RFC 9111 §4.3.4), except
// those about the answer itself.
func (doc *document) confirm(headers http.Header, requested, received time.Time) (confirmed *document, keep bool) {
	merged := doc.headers.Clone()
	for _, name := range cacheHeaders {
		if values := headers[name]; len(values) > 0 {
			merged[name] = values
		} else if name == "Date" || name == "Age" {
			delete(merged, name)
		}
	}
	return newDocument(doc.body, merged, requested, received)
}

// addConditions adds the headers with which the host may confirm the document (RFC 9111 §4.3.1).
func (doc *document) addConditions(to http.Header) {
	if tag := doc.headers["Etag"]; len(tag) == 1 && validTag(tag[0]) {
		to.Set("If-None-Match", tag[0])
	}
	if modified := doc.headers["Last-Modified"]; len(modified) == 1 {
		if _, err := http.ParseTime(modified[0]); err == nil {
			to.Set("If-Modified-Since", modified[0])
		}
	}
}

// validTag reports whether text is an entity tag (RFC 9110 §8.8.3) of a usual length.
func validTag(text string) bool {
	tag, _ := strings.CutPrefix(text, "W/")
	if len(tag) < 2 || len(tag) > 256 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return false
	}
	return !strings.ContainsFunc(tag[1:len(tag)-1], func(r rune) bool { return r < '!' || r > '~' || r == '"' })
}

// lifeOf returns how long after it was received an answer may be used without asking again, at most maxDocumentAge and at least 0.
// keep is false if it must not be kept. A lifetime that is invalid or ambiguous counts as 0 (RFC 9111 §4.2.1).
func lifeOf(headers http.Header, requested, received time.Time) (life time.Duration, keep bool) {
	control, valid := cacheControl(headers["Cache-Control"])
	switch {
	case !valid:
		return 0, !strings.Contains(strings.ToLower(strings.Join(headers["Cache-Control"], ",")), "no-store")
	case control.has("no-store"):
		return 0, false
	case control.has("no-cache"), strings.Contains(strings.Join(headers["Vary"], ","), "*"): // RFC 9111 §4.1
		return 0, true
	}
	date := received
	if values := headers["Date"]; len(values) == 1 {
		if sent, err := http.ParseTime(values[0]); err == nil {
			date = sent
		}
	}
	switch {
	case control.has("s-maxage"):
		life = control.seconds("s-maxage")
	case control.has("max-age"):
		life = control.seconds("max-age")
	case len(headers["Expires"]) > 0:
		expires, err := http.ParseTime(headers["Expires"][0])
		if err != nil || len(headers["Expires"]) > 1 {
			return 0, true
		}
		life = expires.Sub(date)
	default:
		life = heuristicLife
	}
	// RFC 9111 §4.2.3
	age := received.Sub(requested)
	if values := headers["Age"]; len(values) > 0 {
		first, _, _ := strings.Cut(values[0], ",")
		since, _ := deltaSeconds(strings.TrimSpace(first))
		age += since
	}
	age = max(age, received.Sub(date), 0)
	return min(max(max(life, 0)-age, 0), maxDocumentAge), true
}

// directives are the directives of Cache-Control in lower case with their arguments.
type directives map[string]string

func (d directives) has(name string) bool {
	_, found := d[name]
	return found
}

// seconds returns the argument of a directive, or 0 if it is invalid.
func (d directives) seconds(name string) time.Duration {
	n, _ := deltaSeconds(d[name])
	return n
}

// deltaSeconds reads a number of seconds (RFC 9111 §1.2.2). One that is too large is 2^31.
func deltaSeconds(text string) (n time.Duration, ok bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil { // out of range
		seconds = 1 << 31
	}
	return time.Duration(seconds) * time.Second, true
}

// cacheControl reads the lines of Cache-Control (RFC 9111 §5.2). A directive that occurs with different arguments has an invalid one.
// valid is false if a line has a syntax error.
func cacheControl(lines []string) (found directives, valid bool) {
	found = directives{}
	rest := strings.Join(lines, ",")
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return found, true
		}
		name, after := cutToken(rest)
		if name == "" {
			return nil, false
		}
		name, rest = strings.ToLower(name), after
		argument := ""
		if after, ok := strings.CutPrefix(rest, "="); ok {
			if argument, rest = cutToken(after); argument == "" {
				if argument, rest, ok = cutQuoted(after); !ok {
					return nil, false
				}
			}
		}
		if before, twice := found[name]; twice && before != argument {
			argument = "ambiguous"
		}
		found[name] = argument
		rest = strings.TrimLeft(rest, " \t")
		if rest != "" && rest[0] != ',' {
			return nil, false
		}
	}
}

// cutToken splits text after the token (RFC 9110 §5.6.2) at its start, which may be empty.
func cutToken(text string) (token, rest string) {
	end := strings.IndexFunc(text, func(r rune) bool {
		letter := r|0x20 >= 'a' && r|0x20 <= 'z'
		return !letter && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:]
}

// cutQuoted splits text after the quoted string (RFC 9110 §5.6.4) at its start, whose value it returns.
func cutQuoted(text string) (value, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		return "", text, false
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), text[i+1:], true
		case '\\':
			i++
		}
		if i < len(text) {
			b.WriteByte(text[i])
		}
	}
	return "", text, false
}
