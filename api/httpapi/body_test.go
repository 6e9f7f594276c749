package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

// TestOrderOfRefusal checks the order of refusal: each row also has the faults of the rows after it.
func TestOrderOfRefusal(t *testing.T) {
	big := strings.Repeat("x", 70<<10)
	tests := []struct {
		name    string
		body    string
		headers []string
		status  int
		code    string
	}{
		{"content type first", big, []string{"Content-Type: text/plain", "Origin: http://evil.example", "Cookie: " + apitest.Cookie + "; " + apitest.Cookie}, 415, "unsupported_media_type"},
		{"then origin", big, []string{"Origin: http://evil.example", "Cookie: " + apitest.Cookie + "; " + apitest.Cookie}, 403, "forbidden_origin"},
		{"then size", big, []string{"Cookie: " + apitest.Cookie + "; " + apitest.Cookie}, 413, "body_too_large"},
		{"then body", "{", []string{"Cookie: " + apitest.Cookie + "; " + apitest.Cookie}, 400, "invalid_body"},
		{"then two cookies", "{}", []string{"Cookie: " + apitest.Cookie + "; " + apitest.Cookie}, 400, "duplicate_cookie"},
		{"then CSRF, by the broker", "{}", []string{"Cookie: " + apitest.Cookie}, 403, "csrf_mismatch"},
	}
	for _, path := range []string{"/auth/refresh/", "/auth/logoff/"} {
		for _, tt := range tests {
			t.Run(path+" "+tt.name, func(t *testing.T) {
				f := &apitest.Fake{Err: &broker.Error{Code: broker.CodeCSRF}}
				res := apitest.Call(apitest.New(t, f), "POST", path, tt.body, tt.headers...)
				apitest.Want(t, res, tt.status, tt.code)
				if len(res.Cookies()) > 0 {
					t.Errorf("cookies %v", res.Cookies())
				}
				if asked := len(f.Calls) > 0; asked != (tt.code == "csrf_mismatch") {
					t.Errorf("calls %v", f.Calls)
				}
				if res.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("cache control %q", res.Header.Get("Cache-Control"))
				}
			})
		}
	}
}

func TestContentTypes(t *testing.T) {
	tests := []struct {
		headers []string
		ok      bool
	}{
		{[]string{"Content-Type: application/json"}, true},
		{[]string{"Content-Type: application/json; charset=utf-8"}, true},
		{[]string{"Content-Type: Application/JSON;charset=\"UTF-8\""}, true},
		{[]string{"Content-Type: application/json; charset=utf8"}, true},
		{[]string{"Content-Type: application/json;charset=UTF8"}, true},
		{[]string{"Content-Type: APPLICATION/JSON ; Charset=Utf-8 ;"}, true},
		{[]string{"Content-Type: application/json; charset=\"utf8\""}, true},
		{[]string{"Content-Type: application/json; charset='utf-8'"}, true},
		{[]string{"Content-Type: application/json; charset=utf_8"}, true},
		{[]string{"Content-Type: application/json; charset=us-ascii"}, true},
		{[]string{"Content-Type: application/json; charset=utf-8; profile=x"}, true},
		{[]string{"Content-Type: application/json; charset=utf-8; charset=utf-8"}, true},
		{[]string{"Content-Type: application/json; charset=utf-8; charset=utf-16"}, false},
		{[]string{"Content-Type: application/json; charset=iso-8859-1"}, false},
		{[]string{"Content-Type: application/json; charset=utf-80"}, false},
		{[]string{"Content-Type: application/json; charset"}, false},
		{[]string{"Content-Type: application/json, application/json"}, false},
		{[]string{"Content-Type: text/plain, application/json"}, false},
		{[]string{"Content-Type: application/json; charset=utf-16"}, false},
		{[]string{"Content-Type: "}, false},
		{[]string{"Content-Type: text/plain"}, false},
		{[]string{"Content-Type: text/plain; application/json"}, false},
		{[]string{"Content-Type: application/x-www-form-urlencoded"}, false},
		{[]string{"Content-Type: multipart/form-data; boundary=x"}, false},
		{[]string{"Content-Type: application/json-seq"}, false},
		{[]string{"Content-Type: application/json;"}, true},
		{[]string{"Content-Type: application/json; ="}, false},
		{[]string{"Content-Encoding: gzip"}, false},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.headers, " "), func(t *testing.T) {
			res := apitest.Call(apitest.New(t, &apitest.Fake{}), "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, tt.headers...)
			if tt.ok && res.StatusCode != 200 {
				t.Errorf("status %d", res.StatusCode)
			}
			if !tt.ok {
				apitest.Want(t, res, 415, "unsupported_media_type")
			}
		})
	}
}

func TestBodies(t *testing.T) {
	tests := []struct {
		name, body, detail string // no detail: accepted
	}{
		{"unknown members are ignored", `{"username":"a","password":"b","remember":{"x":[1]}}`, ""},
		{"escapes and emoji", `{"username":"a\u00e9","password":"\ud83d\ude00"}`, ""},
		{"a number", `{"username":5,"password":"b"}`, "username must be a string, not a number"},
		{"null", `{"username":null,"password":"b"}`, "username must be a string, not null"},
		{"a boolean", `{"username":"a","password":true}`, "password must be a string, not a boolean"},
		{"an array", `{"username":"a","password":["b"]}`, "password must be a string, not an array"},
		{"an object", `{"username":{"$ne":""},"password":"b"}`, "username must be a string, not an object"},
		{"missing", `{"username":"a"}`, "password is missing or empty"},
		{"empty", `{"username":"","password":"b"}`, "username is missing or empty"},
		{"other case", `{"Username":"a","password":"b"}`, "username is missing or empty"},
		{"empty body", ``, "username is missing or empty"},
		{"twice", `{"username":"a","username":"b","password":"b"}`, "a member occurs twice: username"},
		{"twice, escaped", `{"username":"a","\u0075sername":"b","password":"b"}`, "a member occurs twice: username"},
		{"twice, unknown", `{"username":"a","password":"b","z":1,"z":2}`, "a member occurs twice: one that this endpoint does not use"},
		{"trailing garbage", `{"username":"a","password":"b"} x`, "the body has data after the JSON object"},
		{"two objects", `{"username":"a","password":"b"}{}`, "the body has data after the JSON object"},
		{"an array at the top", `["a"]`, "the body is not a JSON object"},
		{"cut", `{"username":"a","password":"b"`, "the body is not valid JSON"},
		{"no colon", `{"username"}`, "the body is not valid JSON"},
		{"single quotes", `{'username':'a'}`, "the body is not valid JSON"},
		{"trailing comma", `{"username":"a","password":"b",}`, "the body is not valid JSON"},
		{"not UTF-8", "{\"username\":\"a\",\"password\":\"\xff\"}", "the body is not UTF-8"},
		{"half a surrogate pair", `{"username":"a","password":"\ud800"}`, "password is not valid Unicode"},
		{"deep", `{"z":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "the body is not valid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := apitest.Call(apitest.New(t, &apitest.Fake{}), "POST", "/auth/sign-in/", tt.body)
			if tt.detail == "" {
				apitest.WantJSON(t, res, 200, apitest.GrantJSON)
				return
			}
			if p := apitest.Want(t, res, 400, "invalid_body"); p.Detail != tt.detail {
				t.Errorf("detail %q, want %q", p.Detail, tt.detail)
			}
		})
	}
	p := apitest.Want(t, apitest.Call(apitest.New(t, &apitest.Fake{}), "POST", "/auth/refresh/", `{"CSRF_token":7}`, "Cookie: "+apitest.Cookie), 400, "invalid_body")
	if p.Detail != "CSRF_token must be a string, not a number" {
		t.Errorf("detail %q", p.Detail)
	}
}

func TestBodySize(t *testing.T) {
	f := &apitest.Fake{}
	h := apitest.New(t, f)
	fits := fmt.Sprintf(`{"username":"a","password":"b","pad":"%s"}`, strings.Repeat("x", 64<<10-40))
	if len(fits) != 64<<10 {
		t.Fatalf("the body has %d bytes", len(fits))
	}
	if res := apitest.Call(h, "POST", "/auth/sign-in/", fits); res.StatusCode != 200 {
		t.Errorf("64 KiB: %d", res.StatusCode)
	}
	f.Calls = nil
	apitest.Want(t, apitest.Call(h, "POST", "/auth/sign-in/", fits+" "), 413, "body_too_large")
	apitest.Want(t, apitest.Call(h, "POST", "/auth/sign-in/", strings.Repeat(" ", 70<<10)), 413, "body_too_large")
	r, err := http.NewRequest("POST", apitest.Own+"/auth/sign-in/", struct{ *strings.Reader }{strings.NewReader(strings.Repeat("x", 70<<10))})
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json") // no Content-Length: chunked
	apitest.Want(t, apitest.Serve(h, r), 413, "body_too_large")
	if len(f.Calls) > 0 {
		t.Errorf("calls %v", f.Calls)
	}
}

// Every accepted body is valid JSON that encoding/json reads to the same two strings, so no other
// reader of the body sees another user.
func FuzzSignInBody(f *testing.F) {
	for _, s := range []string{
		`{"username":"a","password":"b"}`, `{"username":"a","username":"b","password":"c"}`, `{"password":"\ud83d\ude00","username":"\u0000"}`,
		`{"username":"a","password":"b"}}`, `{"Username":"a","password":"b","x":[{}]}`, ` {"username" : "a" , "password":"b" } `, "\ufeff{}", `{"username":"a""password":"b"}`,
		`{"username":"a":"password"}`, `{"username":"a","password":"b",}`, `{,"username":"a","password":"b"}`,
	} {
		f.Add(s)
	}
	broker := &apitest.Fake{}
	h, err := apitest.NewHandler(broker)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		res := apitest.Call(h, "POST", "/auth/sign-in/", body)
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
		if twin["username"] != broker.Username || twin["password"] != broker.Password || !utf8.ValidString(body) {
			t.Fatalf("read %q %q from %q", broker.Username, broker.Password, body)
		}
	})
}
