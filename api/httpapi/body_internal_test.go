package httpapi

import (
	"fmt"
	"reflect"
	"testing"
)

// wanted are members of every type.
type wanted struct {
	text, csrf string
	yes        bool
	list       []string
	object     map[string]any
}

func (w *wanted) members() []Member {
	return []Member{{"a", &w.text, false}, {"CSRF_token", &w.csrf, false}, {"yes", &w.yes, false}, {"list", &w.list, false}, {"object", &w.object, false}}
}

// FuzzPlainMembers compares the plain reader with encoding/json: both set the same values and
// refuse the same bodies in the same words.
func FuzzPlainMembers(f *testing.F) {
	for _, body := range []string{
		`{"CSRF_token":"abc"}`, ` { "a" : "" , "CSRF_token" : "b c" } `, `{}`, `{"a":"1","a":"2"}`, `{"a":"\u0041"}`, `{"a":1}`, `{"list":"x"}`,
		`{"a":"é"}`, `{"a":"b"}x`, `{"a":"b",}`, `{"a":"b"`, `{"1":"","2":"","3":"","4":"","5":""}`, "{\"a\":\"\x7f\"}", "{\"a\":\"\ufffd\"}",
		`{"list":["a","b"],"yes":true,"object":{"n":12345678901234567890,"l":[null]}}`, `{"list":["a",null]}`, `{"list":[1]}`, `{"yes":null}`, `{"object":[]}`, `{"yes":1,"a":1}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var got, want wanted
		ok, err := parsePlainMembers(body, got.members())
		if !ok {
			if !reflect.DeepEqual(got, wanted{}) {
				t.Errorf("%q is parsed by encoding/json, and %+v was set", body, got)
			}
			return
		}
		if wantErr := parseAnyMembers([]byte(body), want.members()); fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%q: %v, want %v", body, err, wantErr)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q sets %+v, want %+v", body, got, want)
		}
	})
}

func TestBodiesOfClientsArePlain(t *testing.T) {
	var w wanted
	if ok, err := parsePlainMembers(`{"CSRF_token":"abc-_"}`, w.members()); !ok || err != nil || w.csrf != "abc-_" {
		t.Errorf("read %v, %v, %q", ok, err, w.csrf)
	}
}

func BenchmarkBody(b *testing.B) {
	body := []byte(`{"CSRF_token":"v1.mfrggzdfmztwq2lknnwg23tpoamfrggzdfmztwq2lknnwg23tpoamfrggzdfmztwq2lk"}`)
	for name, parse := range map[string]func([]byte, []Member) error{"plain": parseMembers, "encoding-json": parseAnyMembers} {
		b.Run(name, func(b *testing.B) {
			var w wanted
			b.ReportAllocs()
			for b.Loop() {
				if err := parse(body, w.members()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
