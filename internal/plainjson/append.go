// Package plainjson reads and writes the JSON of tokens, messages, records and request bodies.
//
// Plain JSON is the form in which brokers and nearly all clients write: no white space between
// tokens, no escapes, whole numbers, valid UTF-8. Text in this form needs no decoding, so reading it
// is several times as fast as encoding/json and allocates little. Use
//
//   - [Reader] for an object of known members, such as a record or a message;
//   - [ReadPlain] for an object of unknown members, such as a request body;
//   - [ReadObject] for a token that a broker signed, in any form of JSON;
//   - [ReadUnambiguous] for a token that another issuer signed.
//
// Reader and ReadPlain do not judge other forms of JSON: they report that the text is not plain,
// and the caller then decodes it with encoding/json. The fuzz tests of each caller compare both
// ways. [AppendString] and [AppendObject] write what encoding/json writes, without reflection.
//
// What the reader gains, in nanoseconds and allocations (the best of 6 runs on 2 shared cores of an
// AMD EPYC; the benchmarks are in the packages of the callers):
//
//	                                                   plain        JSON package
//	claims of a token          BenchmarkReadObject      770    0     5,800    47
//	session record             BenchmarkSessionRecord 2,100    7     8,700    25
//	body of a refresh          BenchmarkBody            680    2     3,100    19
//	introspection answer       BenchmarkIntrospection 1,800    2     7,100    22
//	batch of 100 revocations   BenchmarkBatch        36,700  104   214,000 1,033
//
// The package imports only the standard library, because services embed it with package validator.
package plainjson

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// AppendString appends text as a JSON string, as encoding/json writes it.
func AppendString(b []byte, text string) []byte {
	if unescaped(text) {
		return append(append(append(b, '"'), text...), '"')
	}
	escaped, _ := json.Marshal(text) // a string: cannot fail
	return append(b, escaped...)
}

// AppendStrings appends an array of strings, or null if list is nil.
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

// AppendObject appends an object, its members sorted by name, or null if members is nil. The error
// names the member whose value cannot be encoded. b must not be used after an error.
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
