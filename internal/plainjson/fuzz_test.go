package plainjson

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// FuzzReader compares each method of Reader with encoding/json: what a Reader reads to the
// end without a failure, encoding/json decodes to the same value.
func FuzzReader(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":1}`, `{"a":-0,"b":[],"c":[1,"x",{"d":null}],"é":true}`, `{"a":01}`, `{"a":1.5}`, `{"a":-}`, `{"a":[1,]}`, `{"a":{}}`, `[,1]`, `{,"a":1}`,
		`{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":1,}`, `{"a":"\n"}`, `{"a":"\u0041"}`, "{\"a\":\"\x7f\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\x1f\"}",
		`{"a":1}{}`, `{"a":tru}`, `{"":""}`, `{"a":1 }`, `{"a":nulll}`, `[1]`, `"a"`, ``, `{`, `{"a"`, `{"a":`, `{"a":"`, `true`, `false`, `truefalse`, `null`, `[1}`, `{"a":1]`,
		`9223372036854775807`, `-9223372036854775808`, `9223372036854775808`, `18446744073709551615`, `4294967295`, `-0`, `-1`, `00`, `["a","",1]`, "\x00",
		`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
		`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
		`{` + manyNames(maxMembers) + `}`, `{` + manyNames(maxMembers+1) + `}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkReader(t, text, (*Reader).Value)
		checkReader(t, text, (*Reader).Map)
		checkReader(t, text, (*Reader).String)
		checkReader(t, text, (*Reader).Bool)
		checkReader(t, text, (*Reader).Int64)
		checkReader(t, text, func(r *Reader) uint64 { return r.Uint64(64) })
		checkReader(t, text, func(r *Reader) uint32 { return uint32(r.Uint64(32)) })
		checkReader(t, text, func(r *Reader) []string {
			list := []string{}
			for r.Array(); r.More(); {
				list = append(list, r.String())
			}
			return list
		})
		checkReader(t, text, func(r *Reader) (v struct{ A, B int64 }) {
			r.Object()
			if r.Field("A") {
				v.A = r.Int64()
			}
			if r.Field("B") {
				v.B = r.Int64()
			}
			r.End()
			return v
		})
	})
}

// checkReader compares what read returns with what encoding/json decodes.
func checkReader[T any](t *testing.T, text string, read func(*Reader) T) {
	t.Helper()
	r := NewReader(text)
	got := read(&r)
	if !r.Done() {
		return
	}
	var want T
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&want); err != nil {
		t.Fatalf("%q is read as %#v; encoding/json refuses it: %v", text, got, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("%q is read as one value; something follows it", text)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is read as %#v, want %#v", text, got, want)
	}
}

// FuzzReadObject compares ReadPlain and ReadObject with the slower form of the reader and
// with encoding/json: they accept the same objects and see the same members.
func FuzzReadObject(f *testing.F) {
	for _, text := range []string{
		`{"a":-0,"b":[],"c":[1,"x",{"d":null}],"é":true}`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":[{"b":1,"b":2}]}`, ` { "a\n" : 1.5e3 } `,
		`{"a":1}{}`, `{"a":"\u0041"}`, "{\"a\":\"\xff\"}", `[]`, `{"\ud800":1}`, `{"a" :tru}`, `{"a":1,"A":2}`,
		`{` + manyNames(maxMembers) + `}`, `{` + manyNames(maxMembers+1) + `}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ReadObject(text, nil)
		slow, slowErr := readAny(text, nil, valid)
		if !errors.Is(err, slowErr) || !slices.Equal(got, slow) {
			t.Fatalf("%q has the members %q, %v, the slower form reads %q, %v", text, got, err, slow, slowErr)
		}
		if plain, ok := ReadPlain(text, nil); ok && (err != nil || !slices.Equal(plain, got)) {
			t.Fatalf("%q has the plain members %q, and %q, %v", text, plain, got, err)
		}
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &want); err != nil || len(want) != len(got) {
			t.Fatalf("%q has the members %q; encoding/json: %q, %v", text, got, want, err)
		}
		for _, m := range got {
			if value, ok := want[m.Name]; !ok || string(value) != m.Value {
				t.Fatalf("%q has the member %q; encoding/json: %q", text, m, value)
			}
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
