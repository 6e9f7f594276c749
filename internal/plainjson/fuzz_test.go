package plainjson

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// FuzzReadPlain: what the quick reader takes, the thorough one takes, and both see the same.
func FuzzReadPlain(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":1}`, `{"a":-0,"b":[],"c":[1,"x",{"d":null}],"é":true}`, `{"a":01}`, `{"a":1.5}`, `{"a":-}`, `{"a":[1,]}`, `{"a":{}}`,
		`{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":1,}`, `{"a":"\n"}`, `{"a":"\u0041"}`, "{\"a\":\"\x7f\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\x1f\"}",
		`{"a":1}{}`, `{"a":tru}`, `{"":""}`, `{"a":1 }`, `{"a":nulll}`, `[1]`, `"a"`, ``, `{`, `{"a"`, `{"a":`, `{"a":"`,
		`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
		`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
		`{` + manyNames(maxMembers) + `}`, `{` + manyNames(maxMembers+1) + `}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := readPlain(text, nil)
		if !ok {
			return
		}
		want, err := readAny(text, nil, equal)
		if err != nil {
			t.Fatalf("%q is taken, and %v", text, err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q has the members %q, not %q", text, got, want)
		}
	})
}

func manyNames(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = `"` + strings.Repeat("n", i) + `":0`
	}
	return strings.Join(names, ",")
}

// FuzzReadUnambiguous: what it takes, encoding/json reads in one way: no member of any
// object is a field that another member of that object also is.
func FuzzReadUnambiguous(f *testing.F) {
	for _, text := range []string{
		`{"sub":"a","Sub":"b"}`, `{"sub":1,"\u017fub":2}`, `{"k":1,"\u212a":2}`, `{"a":{"b":1,"B":2}}`, `{"a":[{"b":1,"B":2}]}`,
		`{"ß":1,"SS":2}`, `{"i":1,"İ":2,"ı":3}`, `{"\ud800":1,"\ufffd":2}`, ` {"a" : 1.5e3 , "b" : [ ] } `, `{"σ":1,"ς":2}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		members, err := ReadUnambiguous(text)
		if err != nil {
			return
		}
		plain, err := ReadObject(text, nil)
		if err != nil || !slices.Equal(plain, members) {
			t.Fatalf("%q has the members %q, ReadObject has %q, %v", text, members, plain, err)
		}
		checkUnambiguous(t, text)
	})
}

func checkUnambiguous(t *testing.T, text string) {
	t.Helper()
	var object map[string]json.RawMessage
	var array []json.RawMessage
	switch {
	case json.Unmarshal([]byte(text), &object) == nil:
		names := make([]string, 0, len(object))
		for name, value := range object {
			if slices.ContainsFunc(names, func(other string) bool { return strings.EqualFold(name, other) }) {
				t.Fatalf("%q has two members %q", text, name)
			}
			names = append(names, name)
			checkUnambiguous(t, string(value))
		}
	case json.Unmarshal([]byte(text), &array) == nil:
		for _, value := range array {
			checkUnambiguous(t, string(value))
		}
	}
}
