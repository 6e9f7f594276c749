// Package plainjson writes JSON as encoding/json does, without reflection, and reads the JSON
// of tokens more strictly than encoding/json does. [AppendString] writes one string,
// [AppendObject] a small object of free members. [ReadObject] reads an object that a broker
// signed, [ReadUnambiguous] one that somebody else wrote. It imports only the standard
// library, since services embed it with package validator.
package plainjson

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// AppendString appends text as a JSON string.
func AppendString(b []byte, text string) []byte {
	if unescaped(text) {
		return append(append(append(b, '"'), text...), '"')
	}
	escaped, _ := json.Marshal(text) // a string: cannot fail
	return append(b, escaped...)
}

// AppendStrings appends an array of strings; null for a nil one.
func AppendStrings(b []byte, list []string) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, text := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, text)
	}
	return append(b, ']')
}

// AppendObject appends an object, its members by name. The error names the member whose value
// is no JSON; b is then not to be used.
func AppendObject(b []byte, members map[string]any) ([]byte, error) {
	if members == nil {
		return append(b, "null"...), nil
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(AppendString(b, name), ':')
		var err error
		if b, err = appendValue(b, members[name]); err != nil {
			return nil, fmt.Errorf("member %q: %w", name, err)
		}
	}
	return append(b, '}'), nil
}

func appendValue(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(b, "null"...), nil
	case string:
		return AppendString(b, v), nil
	case []string:
		return AppendStrings(b, v), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	}
	encoded, err := json.Marshal(value)
	return append(b, encoded...), err
}

// unescaped reports whether text is ASCII that encoding/json writes without an escape.
func unescaped(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
