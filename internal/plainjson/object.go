package plainjson

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits of an object that is read: far above what any token holds, low enough that an
// unsigned token cannot make the reader work. They hold for the outermost object and for
// each object inside it.
const (
	maxMembers = 128
	maxDepth   = 16
)

var (
	errNotObject = errors.New("not a JSON object")
	errDuplicate = errors.New("duplicate member")
	errAmbiguous = errors.New("two member names differ only in case")
	errTooDeep   = errors.New("JSON nested too deeply")
	errTooMany   = errors.New("too many members")
)

// Member is one member of a JSON object. Value is its JSON text without white space around it.
type Member struct {
	Name, Value string
}

// ReadObject appends the members of the JSON object text to into. The members are substrings
// of text. Unlike encoding/json it refuses duplicate members at every depth, does not fold
// the case of names and does not replace invalid UTF-8: two readers of one token must never
// see two different tokens.
func ReadObject(text string, into []Member) ([]Member, error) {
	if members, ok := readPlain(text, into); ok {
		return members, nil
	}
	return readAny(text, into, equal)
}

// ReadUnambiguous is [ReadObject] for JSON that others wrote. It also refuses, at every
// depth, two names that differ only in case under Unicode simple folding, so that "sub"
// and "Sub" or "ſub" cannot be confused: encoding/json reads them as one field.
func ReadUnambiguous(text string) ([]Member, error) {
	return readAny(text, nil, strings.EqualFold)
}

// readAny reads JSON of any form; same reports whether two names are too alike.
func readAny(text string, into []Member, same func(a, b string) bool) ([]Member, error) {
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
		return nil, errNotObject
	}
	w := walker{text: text, same: same}
	w.space()
	if w.text[w.at] != '{' {
		return nil, errNotObject
	}
	return w.object(0, into)
}

func equal(a, b string) bool { return a == b }

// walker goes through JSON text that is known to be valid.
type walker struct {
	text string
	at   int
	same func(a, b string) bool
}

func (w *walker) space() {
	for w.at < len(w.text) {
		switch w.text[w.at] {
		case ' ', '\t', '\r', '\n':
			w.at++
		default:
			return
		}
	}
}

func (w *walker) object(depth int, into []Member) ([]Member, error) {
	if depth >= maxDepth {
		return nil, errTooDeep
	}
	first := len(into)
	w.at++ // {
	for w.space(); w.text[w.at] != '}'; w.space() {
		if w.text[w.at] == ',' {
			w.at++
			w.space()
		}
		name, err := String(w.str())
		if err != nil {
			return nil, err
		}
		w.space()
		w.at++ // :
		w.space()
		start := w.at
		if err := w.value(depth + 1); err != nil {
			return nil, err
		}
		for _, m := range into[first:] {
			switch {
			case m.Name == name:
				return nil, errDuplicate
			case w.same(m.Name, name):
				return nil, errAmbiguous
			}
		}
		if len(into)-first == maxMembers {
			return nil, errTooMany
		}
		into = append(into, Member{name, w.text[start:w.at]})
	}
	w.at++ // }
	return into, nil
}

// array goes past an array and calls each, if it is not nil, with the text of every element.
func (w *walker) array(depth int, each func(value string) error) error {
	if depth >= maxDepth {
		return errTooDeep
	}
	w.at++ // [
	for w.space(); w.text[w.at] != ']'; w.space() {
		if w.text[w.at] == ',' {
			w.at++
			w.space()
		}
		start := w.at
		if err := w.value(depth + 1); err != nil {
			return err
		}
		if each == nil {
			continue
		}
		if err := each(w.text[start:w.at]); err != nil {
			return err
		}
	}
	w.at++ // ]
	return nil
}

// value goes past one value.
func (w *walker) value(depth int) error {
	switch w.text[w.at] {
	case '{':
		_, err := w.object(depth, nil)
		return err
	case '[':
		return w.array(depth, nil)
	case '"':
		w.str()
		return nil
	}
	for w.at < len(w.text) && strings.IndexByte(",]} \t\r\n", w.text[w.at]) < 0 {
		w.at++
	}
	return nil
}

// str goes past one string and returns it with its quotes.
func (w *walker) str() string {
	start := w.at
	for w.at++; w.text[w.at] != '"'; w.at++ {
		if w.text[w.at] == '\\' {
			w.at++
		}
	}
	w.at++
	return w.text[start:w.at]
}

// String returns the text of the JSON string value, without copying when nothing is escaped.
// An error means that value, which must be valid JSON, is not a string.
func String(value string) (string, error) {
	if len(value) < 2 || value[0] != '"' {
		return "", errors.New("not a string")
	}
	if strings.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], nil
	}
	var text string
	err := json.Unmarshal([]byte(value), &text)
	return text, err
}

// Strings returns the elements of the JSON array value. An error means that value, which
// must be valid JSON, is not an array, or has an element that is not a string.
func Strings(value string) ([]string, error) {
	if value == "" || value[0] != '[' {
		return nil, errors.New("not an array")
	}
	many := make([]string, 0, 1+strings.Count(value, ","))
	w := walker{text: value, same: equal}
	err := w.array(0, func(element string) error {
		one, err := String(element)
		many = append(many, one)
		return err
	})
	return many, err
}

// OneOrMore returns the strings of value, which is a JSON string or an array of strings, as
// aud is (RFC 7519 §4.1.3).
func OneOrMore(value string) ([]string, error) {
	if value == "" || value[0] != '"' {
		return Strings(value)
	}
	one, err := String(value)
	return []string{one}, err
}
