package plainjson

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// The limits of a Reader, far above the size of any token, and low enough that an unsigned token
// cannot cause much work. They apply to the outermost value and to each value inside it.
const (
	maxMembers = 128
	maxDepth   = 16
)

// Member is one member of a JSON object. Value is its JSON text without white space around it.
type Member struct {
	Name, Value string
}

// ReadPlain appends the members of the object text to into. ok is false if text is not plain JSON,
// has duplicate members or is nested too deeply.
func ReadPlain(text string, into []Member) (members []Member, ok bool) {
	r := NewReader(text)
	members = r.Members(into)
	return members, r.Done()
}

// ReadObject appends the members of the JSON object text to into. The members are substrings of
// text. Unlike encoding/json, ReadObject refuses duplicate members at every depth, does not fold
// the case of names and does not replace invalid UTF-8, so that two readers of one token cannot see
// two different tokens.
func ReadObject(text string, into []Member) ([]Member, error) {
	if members, ok := ReadPlain(text, into); ok {
		return members, nil
	}
	return readAny(text, into, valid)
}

// ReadUnambiguous is [ReadObject] for JSON of other issuers. It also refuses, at every depth, two
// names that differ only in case under Unicode simple folding: encoding/json reads "sub", "Sub" and
// "ſub" as one field.
func ReadUnambiguous(text string) ([]Member, error) {
	return readAny(text, nil, unambiguous)
}

// readAny reads an object of JSON of any form.
func readAny(text string, into []Member, f form) ([]Member, error) {
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
		return nil, errNotObject
	}
	r := Reader{text: text, form: f}
	if r.peek() != '{' {
		return nil, errNotObject
	}
	if into = r.Members(into); r.err != nil {
		return nil, r.err
	}
	return into, nil
}

// String returns the text of the JSON string value, without copying if nothing is escaped. value
// must be valid JSON. The error means that it is not a string.
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

// Strings returns the elements of the JSON array value, which must be valid JSON. The error means
// that it is not an array, or has an element that is not a string.
func Strings(value string) ([]string, error) {
	if value == "" || value[0] != '[' {
		return nil, errors.New("not an array")
	}
	many := make([]string, 0, 1+strings.Count(value, ","))
	r := Reader{text: value, form: valid}
	for r.Array(); r.More(); {
		many = append(many, r.String())
	}
	return many, r.err
}

// OneOrMore returns the strings of value, which is a JSON string or an array of strings, like aud
// (RFC 7519 §4.1.3).
func OneOrMore(value string) ([]string, error) {
	if value == "" || value[0] != '"' {
		return Strings(value)
	}
	one, err := String(value)
	return []string{one}, err
}

// Raw reads a value of any kind and returns it as written.
func (r *Reader) Raw() string { return r.raw(nil) }

// raw is Raw. It appends the members inside the value to scratch, whose spare capacity saves
// allocations.
func (r *Reader) raw(scratch []Member) string {
	c := r.peek()
	start := r.at
	switch c {
	case '"':
		r.quoted()
	case '{':
		r.Members(scratch)
	case '[':
		for r.Array(); r.More(); {
			r.raw(scratch)
		}
	case 't', 'f':
		r.Bool()
	case 'n':
		r.literal("null")
	default:
		r.number()
	}
	return r.text[start:r.at]
}

// Value reads a value of any kind as encoding/json decodes it into an any, with numbers as
// [json.Number].
func (r *Reader) Value() any {
	switch r.peek() {
	case '"':
		return r.String()
	case '{':
		return r.Map()
	case '[':
		list := []any{}
		for r.Array(); r.More(); {
			list = append(list, r.Value())
		}
		return list
	case 't', 'f':
		return r.Bool()
	case 'n':
		r.literal("null")
		return nil
	}
	return json.Number(r.number())
}

// Map reads an object. Of members with the same name the last one counts.
func (r *Reader) Map() map[string]any {
	members := map[string]any{}
	r.Object()
	for {
		name, ok := r.Name()
		if !ok {
			return members
		}
		members[name] = r.Value()
	}
}

// Members reads an object and appends its members to into. It fails if the object, or one inside
// it, has two members of the same name or more than 128 members.
func (r *Reader) Members(into []Member) []Member {
	first, seen := len(into), uint64(0)
	r.Object()
	for {
		name, ok := r.Name()
		if !ok {
			return into
		}
		value := r.raw(into)
		// Names with different bits differ. Names are compared only if their bit is set.
		bit := uint64(1) << (nameHash(name) % 64)
		if seen&bit != 0 || r.form == unambiguous {
			r.checkName(into[first:], name)
		}
		if len(into)-first == maxMembers {
			r.fail(errTooMany)
		}
		seen |= bit
		into = append(into, Member{name, value})
	}
}

func nameHash(name string) uint64 {
	if name == "" {
		return 0
	}
	return uint64(len(name)) + 5*uint64(name[0]) + 7*uint64(name[len(name)/2]) + 11*uint64(name[len(name)-1])
}

func (r *Reader) checkName(members []Member, name string) {
	for i := range members {
		switch {
		case members[i].Name == name:
			r.fail(errDuplicate)
		case r.form == unambiguous && strings.EqualFold(members[i].Name, name):
			r.fail(errAmbiguous)
		}
	}
}
