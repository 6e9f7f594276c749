package validator

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits of the JSON in a token: far above anything the broker signs, low enough that
// an unsigned token cannot make the reader work.
const (
	maxMembers = 128
	maxDepth   = 16
)

var (
	errNotObject = errors.New("not a JSON object")
	errDuplicate = errors.New("duplicate member")
	errTooDeep   = errors.New("JSON nested too deeply")
	errTooMany   = errors.New("too many members")
)

// member is one member of a JSON object; value is its text, without white space around it.
type member struct {
	name, value string
}

// readObject appends the members of a JSON object to into, of which they are parts. Unlike
// encoding/json it refuses duplicate members (at every depth), does not fold the case
// of names and does not replace invalid UTF-8: two readers of one token must never see
// two different tokens.
func readObject(text string, into []member) ([]member, error) {
	if members, ok := readPlain(text, into); ok {
		return members, nil
	}
	return readAny(text, into)
}

// readAny is readObject for JSON of any form.
func readAny(text string, into []member) ([]member, error) {
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
		return nil, errNotObject
	}
	w := walker{text: text}
	w.space()
	if w.text[w.at] != '{' {
		return nil, errNotObject
	}
	return w.object(0, into)
}

// walker goes through JSON text that is known to be valid.
type walker struct {
	text string
	at   int
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

func (w *walker) object(depth int, into []member) ([]member, error) {
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
		name, err := unquote(w.str())
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
			if m.name == name {
				return nil, errDuplicate
			}
		}
		if len(into)-first == maxMembers {
			return nil, errTooMany
		}
		into = append(into, member{name, w.text[start:w.at]})
	}
	w.at++ // }
	return into, nil
}

// array goes past an array and gives the text of each element to each, if there is one.
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

// unquote returns the text of a valid JSON string, without copying when nothing is escaped.
func unquote(quoted string) (string, error) {
	if len(quoted) < 2 || quoted[0] != '"' {
		return "", errors.New("not a string")
	}
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	var text string
	err := json.Unmarshal([]byte(quoted), &text)
	return text, err
}
