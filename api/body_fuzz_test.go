package api_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// Whatever is accepted is valid JSON that encoding/json reads to the same two strings:
// no second reading of a body gives another user.
func FuzzSignInBody(f *testing.F) {
	for _, s := range []string{
		`{"username":"a","password":"b"}`, `{"username":"a","username":"b","password":"c"}`, `{"password":"\ud83d\ude00","username":"\u0000"}`,
		`{"username":"a","password":"b"}}`, `{"Username":"a","password":"b","x":[{}]}`, ` {"username" : "a" , "password":"b" } `, "\ufeff{}", `{"username":"a""password":"b"}`,
		`{"username":"a":"password"}`, `{"username":"a","password":"b",}`, `{,"username":"a","password":"b"}`,
	} {
		f.Add(s)
	}
	broker := &fake{}
	h, err := newHandler(broker)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		res := call(h, "POST", "/auth/sign-in/", body)
		switch res.StatusCode {
		case 400, 413:
			return
		case 200:
		default:
			t.Fatalf("status %d", res.StatusCode)
		}
		var twin map[string]any
		if err := json.Unmarshal([]byte(body), &twin); err != nil {
			t.Fatalf("accepted %q: %v", body, err)
		}
		if twin["username"] != broker.username || twin["password"] != broker.password || !utf8.ValidString(body) {
			t.Fatalf("read %q %q from %q", broker.username, broker.password, body)
		}
	})
}
