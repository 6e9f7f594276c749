package plainjson_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/quick"

	"tokenbroker/internal/plainjson"
)

// The simple twin is encoding/json.

func TestStringsAreWrittenAsByEncodingJSON(t *testing.T) {
	same := func(text string) bool {
		want, err := json.Marshal(text)
		return err == nil && string(plainjson.AppendString([]byte("x"), text)) == "x"+string(want)
	}
	for c := range rune(0x180) {
		if !same("a" + string(c) + "b") {
			t.Errorf("%q is written otherwise", c)
		}
	}
	for _, text := range []string{"", "bad \xff", "\u2028", "世界"} {
		if !same(text) {
			t.Errorf("%q is written otherwise", text)
		}
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

func TestObjectsAreWrittenAsByEncodingJSON(t *testing.T) {
	for _, members := range []map[string]any{
		nil, {}, {"b": 1, "a": "<x>", "\u2028": true},
		{"list": []string{"a", "\""}, "none": []string(nil), "empty": []string{}, "nil": nil, "no": false},
		{"n": json.Number("12345678901234567890"), "f": 1e21, "deep": map[string]any{"z": 1, "a": []any{nil, "x"}}},
	} {
		want, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := plainjson.AppendObject(nil, members); err != nil || string(got) != string(want) {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
	if _, err := plainjson.AppendObject(nil, map[string]any{"bad": func() {}}); err == nil || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("a function: %v", err)
	}
}
