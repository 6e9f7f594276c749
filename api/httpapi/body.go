package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"tokenbroker/broker"
	"tokenbroker/internal/plainjson"
)

// MaxBody is the largest request body in bytes.
const MaxBody = 64 << 10

// Member is a member of the body that an endpoint reads. See [Required] and [Optional].
type Member struct {
	name     string
	value    any // see Required, and for Optional also a **string, a **bool or a *[]map[string]any
	required bool
}

// Required returns a member of that name, which is decoded into value, a *string, *bool, *[]string or
// *map[string]any. A string must not be missing or empty.
func Required(name string, value any) Member { return Member{name, value, true} }

// Optional returns a member of that name, which is decoded into value as for [Required] and may be missing. value may also be a
// **string or a **bool, which stay nil if the member is missing, or a *[]map[string]any.
func Optional(name string, value any) Member { return Member{name, value, false} }

// CheckJSON refuses a body that is not declared as JSON in UTF-8. That also excludes HTML forms,
// which cannot send this type without a pre-flight.
func CheckJSON(r *http.Request) error {
	refuse := func(detail string) error {
		return &broker.Error{Code: CodeUnsupportedMediaType, Message: detail}
	}
	if sent := r.Header["Content-Type"]; len(sent) != 1 || sent[0] != "application/json" { // the usual case
		switch kind, charset := MediaType(r.Header); {
		case kind != "application/json":
			return refuse("the request must have exactly one Content-Type, application/json")
		case !isUTF8(charset):
			return refuse("the body must be JSON in UTF-8")
		}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return refuse("the body must have no Content-Encoding")
	}
	return nil
}

// ReadBody reads a body of at most limit bytes.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLarge := &broker.Error{Code: CodeBodyTooLarge, Message: fmt.Sprintf("the body is too large; it may have at most %d bytes", limit)}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
	case err != nil:
		return nil, InvalidBody("the body could not be read completely")
	}
	return body, nil
}

// ReadMembers reads the body, a JSON object of at most [MaxBody] bytes, and sets the wanted
// members. An empty body is an empty object. Names are compared exactly, unknown members
// are ignored, and a name that occurs twice is refused, because parsers disagree about which one is valid
// (RFC 8259 §4).
func ReadMembers(w http.ResponseWriter, r *http.Request, want ...Member) error {
	body, err := ReadBody(w, r, MaxBody)
	if err != nil {
		return err
	}
	if !utf8.Valid(body) {
		return InvalidBody("the body is not UTF-8")
	}
	if len(bytes.Trim(body, " \t\r\n")) > 0 {
		if err := parseMembers(body, want); err != nil {
			return err
		}
	}
	for _, m := range want {
		if text, ok := m.value.(*string); m.required && ok && *text == "" {
			return InvalidBody(m.name + " is missing or empty")
		}
	}
	return nil
}

func parseMembers(body []byte, want []Member) error {
	if ok, err := parsePlainMembers(string(body), want); ok {
		return err
	}
	return parseAnyMembers(body, want)
}

func parseAnyMembers(body []byte, want []Member) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return InvalidBody("the body is not a JSON object")
	}
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return InvalidBody("the body is not valid JSON")
		}
		if seen[name] {
			return InvalidBody("a member occurs twice: " + quoteKnown(name, want))
		}
		seen[name] = true
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return InvalidBody("the body is not valid JSON")
		}
		if err := setMember(name, string(raw), want); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return InvalidBody("the body is not valid JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return InvalidBody("the body has data after the JSON object")
	}
	return nil
}

// parsePlainMembers does what [parseAnyMembers] does, without its cost, if body is plain JSON.
// If it is not, ok is false and nothing was set.
func parsePlainMembers(body string, want []Member) (ok bool, err error) {
	var room [8]plainjson.Member
	members, ok := plainjson.ReadPlain(body, room[:0])
	if !ok {
		return false, nil
	}
	for _, m := range members {
		if err := setMember(m.Name, m.Value, want); err != nil {
			return true, err
		}
	}
	return true, nil
}

// setMember sets the wanted member of that name, if there is one.
func setMember(name, raw string, want []Member) error {
	for _, m := range want {
		if m.name != name {
			continue
		}
		if err := m.set(raw); err != nil {
			return err
		}
	}
	return nil
}

// set accepts only JSON of the member's own type, and not null.
func (m Member) set(raw string) error {
	want, first := "", byte(0)
	switch m.value.(type) {
	case *string, **string:
		want, first = "a string", '"'
	case *bool, **bool:
		want, first = "a boolean", 't'
		if raw[0] == 'f' {
			first = 'f'
		}
	case *[]string:
		want, first = "an array of strings", '['
	case *[]map[string]any:
		want, first = "an array of objects", '['
	case *map[string]any:
		want, first = "an object", '{'
	}
	if raw[0] != first {
		return InvalidBody(m.name + " must be " + want + ", not " + jsonType(raw))
	}
	if err := decodeMember(raw, m.value); err != nil {
		return InvalidBody(m.name + " must be " + want)
	}
	// Half a surrogate pair decodes to U+FFFD, so different passwords would become equal.
	var texts []string
	switch v := m.value.(type) {
	case *string:
		texts = []string{*v}
	case **string:
		texts = []string{**v}
	case *[]string:
		texts = *v
	}
	for _, text := range texts {
		if strings.ContainsRune(text, utf8.RuneError) {
			return InvalidBody(m.name + " is not valid Unicode")
		}
	}
	return nil
}

func decodeMember(raw string, into any) (err error) {
	if text, ok := into.(*string); ok {
		*text, err = plainjson.String(raw)
		return err
	}
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.UseNumber() // an attribute's number is stored as it was sent
	return decoder.Decode(into)
}

// quoteKnown returns the name of a wanted member. Another name is the caller's text, which is not
// repeated.
func quoteKnown(name string, want []Member) string {
	for _, m := range want {
		if m.name == name {
			return name
		}
	}
	return "one that this endpoint does not use"
}

func jsonType(raw string) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	case '"':
		return "a string"
	}
	return "a number"
}

// InvalidBody returns the refusal of a body.
func InvalidBody(detail string) error {
	return &broker.Error{Code: CodeInvalidBody, Message: detail}
}

// WriteJSON answers with v. It writes nothing if v cannot be encoded.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	WriteBody(w, status, "application/json", body)
	return nil
}

// WriteBody answers with body. A caller that has left is not an error.
func WriteBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // JSON under its own type, and nosniff: browsers do not take it for a page
}
