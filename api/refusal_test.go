package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tokenbroker/broker"
)

// The order of refusal: every row has all the faults of the rows after it.
func TestOrderOfRefusal(t *testing.T) {
	big := strings.Repeat("x", 70<<10)
	tests := []struct {
		name    string
		body    string
		headers []string
		status  int
		code    string
	}{
		{"content type first", big, []string{"Content-Type: text/plain", "Origin: http://evil.example", "Cookie: " + cookie + "; " + cookie}, 415, "unsupported_media_type"},
		{"then origin", big, []string{"Origin: http://evil.example", "Cookie: " + cookie + "; " + cookie}, 403, "forbidden_origin"},
		{"then size", big, []string{"Cookie: " + cookie + "; " + cookie}, 413, "body_too_large"},
		{"then body", "{", []string{"Cookie: " + cookie + "; " + cookie}, 400, "invalid_body"},
		{"then two cookies", "{}", []string{"Cookie: " + cookie + "; " + cookie}, 400, "duplicate_cookie"},
		{"then CSRF, by the broker", "{}", []string{"Cookie: " + cookie}, 403, "csrf_mismatch"},
	}
	for _, path := range []string{"/auth/refresh/", "/auth/logoff/"} {
		for _, tt := range tests {
			t.Run(path+" "+tt.name, func(t *testing.T) {
				f := &fake{err: &broker.Error{Code: broker.CodeCSRF}}
				res := call(newAPI(t, f), "POST", path, tt.body, tt.headers...)
				want(t, res, tt.status, tt.code)
				if len(res.Cookies()) > 0 {
					t.Errorf("cookies %v", res.Cookies())
				}
				if asked := len(f.calls) > 0; asked != (tt.code == "csrf_mismatch") {
					t.Errorf("calls %v", f.calls)
				}
				if res.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("cache control %q", res.Header.Get("Cache-Control"))
				}
			})
		}
	}
}

func TestOriginAndFetchSite(t *testing.T) {
	tests := []struct {
		name    string
		headers []string
		ok      bool
	}{
		{"none (curl)", nil, true},
		{"own origin", []string{"Origin: " + own}, true},
		{"configured origin of the same site", []string{"Origin: " + spa, "Sec-Fetch-Site: same-site"}, true},
		{"null", []string{"Origin: null"}, false},
		{"empty", []string{"Origin: "}, false},
		{"another port", []string{"Origin: http://127.0.0.1:9999"}, false},
		{"another scheme", []string{"Origin: https://127.0.0.1:8080"}, false},
		{"a longer name", []string{"Origin: http://127.0.0.1:8080.evil.example"}, false},
		{"two", []string{"Origin: " + own, "Origin: " + own}, false},
		{"same-origin", []string{"Sec-Fetch-Site: same-origin"}, true},
		{"typed by the user", []string{"Sec-Fetch-Site: none"}, true},
		{"same-site without an origin", []string{"Sec-Fetch-Site: same-site"}, false},
		{"cross-site", []string{"Sec-Fetch-Site: cross-site"}, false},
		{"two fetch sites", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"}, false},
	}
	for _, path := range []string{"/auth/sign-in/", "/auth/refresh/", "/auth/logoff/", "/auth/verify/"} {
		for _, tt := range tests {
			t.Run(path+" "+tt.name, func(t *testing.T) {
				body := `{"username":"a","password":"b","token":"t","CSRF_token":"c"}`
				res := call(newAPI(t, &fake{claims: "{}"}), "POST", path, body, append(tt.headers, "Cookie: "+cookie)...)
				if tt.ok && res.StatusCode != 200 {
					t.Errorf("status %d", res.StatusCode)
				}
				if !tt.ok {
					want(t, res, 403, "forbidden_origin")
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
			res := call(newAPI(t, &fake{}), "POST", "/auth/sign-in/", `{"username":"a","password":"b"}`, tt.headers...)
			if tt.ok && res.StatusCode != 200 {
				t.Errorf("status %d", res.StatusCode)
			}
			if !tt.ok {
				want(t, res, 415, "unsupported_media_type")
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
		{"twice", `{"username":"a","username":"b","password":"b"}`, "a member comes twice: username"},
		{"twice, escaped", `{"username":"a","\u0075sername":"b","password":"b"}`, "a member comes twice: username"},
		{"twice, unknown", `{"username":"a","password":"b","z":1,"z":2}`, "a member comes twice: one that is not used here"},
		{"trailing garbage", `{"username":"a","password":"b"} x`, "something follows the JSON object"},
		{"two objects", `{"username":"a","password":"b"}{}`, "something follows the JSON object"},
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
			res := call(newAPI(t, &fake{}), "POST", "/auth/sign-in/", tt.body)
			if tt.detail == "" {
				wantJSON(t, res, 200, grantJSON)
				return
			}
			if p := want(t, res, 400, "invalid_body"); p.Detail != tt.detail {
				t.Errorf("detail %q, want %q", p.Detail, tt.detail)
			}
		})
	}
	p := want(t, call(newAPI(t, &fake{}), "POST", "/auth/refresh/", `{"CSRF_token":7}`, "Cookie: "+cookie), 400, "invalid_body")
	if p.Detail != "CSRF_token must be a string, not a number" {
		t.Errorf("detail %q", p.Detail)
	}
}

func TestBodySize(t *testing.T) {
	f := &fake{}
	h := newAPI(t, f)
	fits := fmt.Sprintf(`{"username":"a","password":"b","pad":"%s"}`, strings.Repeat("x", 64<<10-40))
	if len(fits) != 64<<10 {
		t.Fatalf("the body has %d bytes", len(fits))
	}
	if res := call(h, "POST", "/auth/sign-in/", fits); res.StatusCode != 200 {
		t.Errorf("64 KiB: %d", res.StatusCode)
	}
	f.calls = nil
	want(t, call(h, "POST", "/auth/sign-in/", fits+" "), 413, "body_too_large")
	want(t, call(h, "POST", "/auth/sign-in/", strings.Repeat(" ", 70<<10)), 413, "body_too_large")
	r, err := http.NewRequest("POST", own+"/auth/sign-in/", struct{ *strings.Reader }{strings.NewReader(strings.Repeat("x", 70<<10))})
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json") // no Content-Length: chunked
	want(t, serve(h, r), 413, "body_too_large")
	if len(f.calls) > 0 {
		t.Errorf("calls %v", f.calls)
	}
}

func TestTwoCookies(t *testing.T) {
	for name, headers := range map[string][]string{
		"in one line":         {"Cookie: " + cookie + "; refresh_cookie=rt1.other"},
		"in two lines":        {"Cookie: " + cookie, "Cookie: refresh_cookie=rt1.other"},
		"one of them is junk": {"Cookie: " + cookie + `; refresh_cookie="a b\`},
		"one of them empty":   {"Cookie: " + cookie + "; refresh_cookie="},
		"the same twice":      {"Cookie: " + cookie + "; " + cookie},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			h := newAPI(t, f)
			for path, method := range map[string]string{"/auth/refresh/": "POST", "/auth/logoff/": "POST", "/auth/session/": "GET"} {
				res := call(h, method, path, "", headers...)
				want(t, res, 400, "duplicate_cookie")
				if len(res.Cookies()) > 0 || len(f.calls) > 0 {
					t.Errorf("%s: cookies %v, calls %v", path, res.Cookies(), f.calls)
				}
			}
		})
	}
}
