package admin_test

import (
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
)

const (
	userJSON    = `{"uid":"u1","username":"ada","accounts":[{"issuer":"urn:tokenbroker:local","subject":"ada"}],"has_password":true,"disabled":false,"attributes":{"email":"ada@example.com"},"roles":["admin"],"groups":["staff"],"created_at":"2026-01-02T03:04:05Z","last_login":"2026-01-02T03:04:05Z","epoch":7}`
	revokedJSON = `{"kind":"sub","value":"u1","epoch":9,"changed":true,"broadcast":true}`
	keyJSON     = `{"kid":"k1","purpose":"access","algorithm":"ES256","state":"active","created":"2026-01-02T03:04:05Z","activates":"2026-01-02T03:04:05Z","retires":"2026-01-02T03:04:05Z","last_token_dies":"2026-01-02T03:04:05Z","next_step":"retires","next_step_at":"2026-01-02T03:04:05Z"}`
	pendingJSON = `{"kind":"sub","value":"u1","epoch":9,"changed":true,"broadcast":false}`
)

// operation is a call that is answered 2xx.
type operation struct {
	method, path, body string
	pattern            string // of openapi-admin.yaml
	status             int
	asked, answer      string // answer "": not compared
	note               string
}

const usersPattern, clientsPattern = "/admin/v1/users", "/admin/v1/clients"

// settingsJSON has all settings of a client.
const settingsJSON = `"name":"Web app","scopes":["a"],"default_scopes":["a"],"audiences":["api"],"grants":["refresh_token"],` +
	`"redirect_uris":["https://a.example/"],"post_logout_redirect_uris":["https://a.example/"],"origins":["https://a.example"],"first_party":true,` +
	`"access_token":"1m","session_idle":"1h","session_absolute":"8h","refresh_grace":"0s","jwks":{"keys":[{"n":1}]},"jwks_uri":"https://a.example/keys",` +
	`"workloads":[{"issuer":"https://ci.example","subject":"s","audience":"a","jwks_uri":"https://ci.example/keys"}]`

func operations() []operation {
	users, one := usersPattern, usersPattern+"/{ref}"
	clients, client := clientsPattern, clientsPattern+"/{id}"
	return []operation{
		{"GET", "/admin/v1/users", "", users, 200, "users {Match: After: Limit:100}", "", ""},
		{"GET", "/admin/v1/users/?match=A%20d&after=u0&limit=1000&x=1", "", users, 200, "users {Match:A d After:u0 Limit:1000}", "", ""},
		{"POST", "/admin/v1/users", `{"username":"ada","password":"pw","attributes":{"n":[1]},"roles":["admin"],"x":null}`, users, 201, `add "ada" "pw" map[n:[1]] [admin]`, userJSON, ""},
		{"POST", "/admin/v1/users/", `{"username":"ada","password":"pw"}`, users, 201, `add "ada" "pw" map[] []`, userJSON, ""},
		{"GET", "/admin/v1/users/ada", "", one, 200, `user "ada"`, userJSON, ""},
		{"PATCH", "/admin/v1/users/ada", `{"attributes":{}}`, one, 200, `update "ada" map[] false [] true`, userJSON, ""},
		{"PATCH", "/admin/v1/users/ada/", `{"roles":[]}`, one, 200, `update "ada" map[] true [] false`, userJSON, ""},
		{"POST", "/admin/v1/users/ada/password", `{"password":"pw"}`, one + "/password", 200, `password "ada" "pw" false`, revokedJSON, ""},
		{"POST", "/admin/v1/users/ada/password/", `{"password":"pw","keep_sessions":true}`, one + "/password", 200, `password "ada" "pw" true`, revokedJSON, ""},
		{"POST", "/admin/v1/users/ada/disable", `{"note":"left"}`, one + "/disable", 200, `disable "ada"`, revokedJSON, "left"},
		{"POST", "/admin/v1/users/ada/disable", "", one + "/disable", 200, `disable "ada"`, revokedJSON, ""},
		{"POST", "/admin/v1/users/ada/enable", `{"note":"back"}`, one + "/enable", 200, `enable "ada"`, userJSON, "back"},
		{"DELETE", "/admin/v1/users/ada", "", one, 200, `remove "ada"`, revokedJSON, ""},
		{"DELETE", "/admin/v1/users/ada", `{"note":"gone"}`, one, 200, `remove "ada"`, revokedJSON, "gone"},
		{"GET", "/admin/v1/clients", "", clients, 200, "clients {After: Limit:100}", "", ""},
		{"GET", "/admin/v1/clients/?after=a&limit=5", "", clients, 200, "clients {After:a Limit:5}", "", ""},
		{"POST", "/admin/v1/clients", `{"id":"web-app","public":true}`, clients, 201, `add client {"id":"web-app","public":true}`, "", ""},
		{"POST", "/admin/v1/clients", `{"id":"web-app",` + settingsJSON + `}`, clients, 201, `add client {"id":"web-app",` + settingsJSON + `}`, "", ""},
		{"GET", "/admin/v1/clients/web-app", "", client, 200, `client "web-app"`, "", ""},
		{"PATCH", "/admin/v1/clients/web-app", `{"name":"","first_party":false,"scopes":[],"jwks":{},"workloads":[]}`, client, 200, `update client "web-app" {"name":"","scopes":[],"first_party":false,"jwks":{},"workloads":[]}`, "", ""},
		{"PATCH", "/admin/v1/clients/web-app", `{` + settingsJSON + `}`, client, 200, `update client "web-app" {` + settingsJSON + `}`, "", ""},
		{"DELETE", "/admin/v1/clients/web-app", "", client, 200, `remove client "web-app"`, revokedJSON, ""},
		{"DELETE", "/admin/v1/clients/web-app", `{"note":"gone"}`, client, 200, `remove client "web-app"`, revokedJSON, "gone"},
		{"POST", "/admin/v1/clients/web-app/secret", "", client + "/secret", 200, `rotate client "web-app" 24h0m0s`, "", ""},
		{"POST", "/admin/v1/clients/web-app/secret", `{"overlap":"1d12h","note":"n"}`, client + "/secret", 200, `rotate client "web-app" 36h0m0s`, "", "n"},
		{"POST", "/admin/v1/clients/web-app/secret", `{"overlap":"0s"}`, client + "/secret", 200, `rotate client "web-app" 0s`, "", ""},
		{"GET", "/admin/v1/sessions", "", "/admin/v1/sessions", 200, "sessions {User: After: Limit:100 Ended:false}", "", ""},
		{"GET", "/admin/v1/sessions?user=a%2Fb&after=s0&limit=1&ended=true", "", "/admin/v1/sessions", 200, "sessions {User:a/b After:s0 Limit:1 Ended:true}", "", ""},
		{"DELETE", "/admin/v1/sessions/s1", "", "/admin/v1/sessions/{sid}", 200, `revoke sid "s1" revoked`, revokedJSON, ""},
		{"DELETE", "/admin/v1/sessions/s1", `{"note":"n"}`, "/admin/v1/sessions/{sid}", 200, `revoke sid "s1" revoked`, revokedJSON, "n"},
		{"POST", "/admin/v1/revocations", `{"kind":"sub","value":"ada"}`, "/admin/v1/revocations", 200, `revoke sub "ada" revoked`, revokedJSON, ""},
		{"POST", "/admin/v1/revocations", `{"kind":"sid","value":"s1","reason":"reuse","note":"n"}`, "/admin/v1/revocations", 200, `revoke sid "s1" reuse`, revokedJSON, "n"},
		{"POST", "/admin/v1/revocations", `{"kind":"jti","value":"j1"}`, "/admin/v1/revocations", 200, `revoke jti "j1" revoked`, revokedJSON, ""},
		{"POST", "/admin/v1/revocations", `{"kind":"client","value":"c1","note":"n"}`, "/admin/v1/revocations", 200, `revoke client "c1" revoked`, revokedJSON, "n"},
		{"POST", "/admin/v1/revocations", `{"kind":"all","reason":"restore"}`, "/admin/v1/revocations", 200, `revoke all restore`, revokedJSON, ""},
		{"POST", "/admin/v1/revocations/bulk", `{"kind":"sid","values":["s1","s2"],"reason":"upstream","note":"n"}`, "/admin/v1/revocations/bulk", 200, `bulk sid ["s1" "s2"] upstream`, `{"kind":"sid","recorded":1,"changed":1,"unknown":1,"unknown_values":["s2"],"broadcast":true}`, "n"},
		{"GET", "/admin/v1/revocations/check?value=a%2Fb", "", "/admin/v1/revocations/check", 200, `check  "a/b"`, "", ""},
		{"GET", "/admin/v1/revocations/check?value=u1&kind=sub", "", "/admin/v1/revocations/check", 200, `check sub "u1"`, "", ""},
		{"GET", "/admin/v1/revocations", "", "/admin/v1/revocations", 200, `revocations "" 100`, `{"revocations":[{"kind":"sub","value":"u1","expires_at":1700000300,"at":1700000000,"reason":"revoked","epoch":9}],"next":"sub.u1"}`, ""},
		{"GET", "/admin/v1/revocations?after=sub.u1&limit=7", "", "/admin/v1/revocations", 200, `revocations "sub.u1" 7`, "", ""},
		{"GET", "/admin/v1/backup", "", "/admin/v1/backup", 200, "", "", ""},
		{"GET", "/admin/v1/keys", "", "/admin/v1/keys", 200, "keys", `{"now":"2026-01-02T03:04:05Z","keys":[` + keyJSON + `,{"kid":"m1","purpose":"master","algorithm":"HKDF-SHA256","state":"active","created":"2026-01-02T03:04:05Z"}],"rotate_every":"720h0m0s","overdue":{"purposes":["access"],"since":"2026-01-02T03:04:05Z","old_key_until":"2026-01-02T03:04:05Z"}}`, ""},
		{"GET", "/admin/v1/keys/jwks", "", "/admin/v1/keys/jwks", 200, "", `{"keys":[],"store":"s1"}`, ""},
		{"GET", "/admin/v1/keys/jwks?purpose=access", "", "/admin/v1/keys/jwks", 200, "", `{"keys":[],"store":"s1"}`, ""},
		{"GET", "/admin/v1/keys/jwks?purpose=feed", "", "/admin/v1/keys/jwks", 200, "", `{"keys":[],"store":"s2"}`, ""},
		{"POST", "/admin/v1/keys/rotate", "", "/admin/v1/keys/rotate", 200, `rotate access ""`, `{"purpose":"access","active":` + keyJSON + `,"next":` + keyJSON + `,"signs":"2026-01-02T03:04:05Z","scheduled":true,"changed":true}`, ""},
		{"POST", "/admin/v1/keys/rotate", `{"algorithm":"EdDSA","note":"n"}`, "/admin/v1/keys/rotate", 200, `rotate access "EdDSA"`, "", "n"},
		{"POST", "/admin/v1/keys/rotate", `{"purpose":"master"}`, "/admin/v1/keys/rotate", 200, `rotate master ""`, "", ""},
		{"POST", "/admin/v1/keys/rotate", `{"purpose":"feed","algorithm":"EdDSA"}`, "/admin/v1/keys/rotate", 200, `rotate feed "EdDSA"`, "", ""},
		{"POST", "/admin/v1/keys/k1/revoke", "", "/admin/v1/keys/{kid}/revoke", 200, `revoke kid "k1" `, `{"kind":"kid","value":"k1","changed":true,"broadcast":true,"purpose":"access","algorithm":"ES256","successor":"k2"}`, ""},
		{"POST", "/admin/v1/keys/k1/revoke", `{"reason":"revoked","note":"n"}`, "/admin/v1/keys/{kid}/revoke", 200, `revoke kid "k1" revoked`, "", "n"},
		{"POST", "/admin/v1/keys/reseal", "", "/admin/v1/keys/reseal", 200, `reseal ""`, `{"kek_file":"/data/kek","todo":"set keyring.kek_file"}`, ""},
		{"POST", "/admin/v1/keys/reseal", `{"kek_file":"/etc/kek","note":"n"}`, "/admin/v1/keys/reseal", 200, `reseal "/etc/kek"`, "", "n"},
		{"GET", "/admin/v1/status", "", "/admin/v1/status", 200, "", "", ""},
		{"GET", "/admin/v1/watch", "", "/admin/v1/watch", 200, "watch", "", ""},
		{"GET", "/metrics", "", "/metrics", 200, "", "", ""},
		{"GET", "/livez", "", "/livez", 200, "", `{"status":"ok"}`, ""},
		{"GET", "/readyz", "", "/readyz", 200, "", `{"status":"degraded","degraded":["nats"]}`, ""},
		{"GET", "/readyz/?verbose", "", "/readyz", 200, "", `{"status":"degraded","degraded":["nats"],"checks":[{"name":"nats","ok":true,"degraded":true}]}`, ""},
	}
}

func done() operator.Revoked {
	return operator.Revoked{Kind: "sub", Value: "u1", Epoch: 9, Changed: true, Broadcast: true}
}

func TestAdminEndpoints(t *testing.T) {
	for _, op := range operations() {
		t.Run(op.method+" "+op.path+" "+op.body, func(t *testing.T) {
			f := &fakeOperators{revoked: done()}
			res := callAdmin(t, newAdmin(f), op.method, op.path, op.body, "X-Request-Id: id-1", "User-Agent: curl")
			if f.asked != op.asked {
				t.Errorf("asked %s\nwant  %s", f.asked, op.asked)
			}
			if op.answer != "" {
				apitest.WantJSON(t, res, op.status, op.answer)
			}
			if res.StatusCode != op.status || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v, want %d", res.StatusCode, res.Header, op.status)
			}
			created := map[string]string{usersPattern: "/admin/v1/users/u1", clientsPattern: "/admin/v1/clients/web-app"}[op.pattern]
			if location := res.Header.Get("Location"); op.status == 201 && location != created || op.status != 201 && location != "" {
				t.Errorf("location %q", location)
			}
			want := broker.Request{Operator: "token", Note: op.note, ID: res.Header.Get("X-Request-Id"), Addr: "192.0.2.1", UserAgent: "curl"}
			if op.method == "GET" {
				want = broker.Request{}
			}
			if f.req != want {
				t.Errorf("request %+v, want %+v", f.req, want)
			}
		})
	}
}

func TestAdminAnswers202WhileTheBroadcastIsPending(t *testing.T) {
	for _, op := range operations() {
		if op.answer != revokedJSON {
			continue
		}
		f := &fakeOperators{revoked: done()}
		f.revoked.Broadcast = false
		apitest.WantJSON(t, callAdmin(t, newAdmin(f), op.method, op.path, op.body), 202, pendingJSON)
	}
}

func TestAdminEmptyListsAreNotNull(t *testing.T) {
	h := newAdmin(&fakeOperators{empty: true})
	apitest.WantJSON(t, callAdmin(t, h, "GET", "/admin/v1/users", ""), 200, `{"users":[]}`)
	apitest.WantJSON(t, callAdmin(t, h, "GET", "/admin/v1/sessions", ""), 200, `{"sessions":[]}`)
	apitest.WantJSON(t, callAdmin(t, h, "GET", "/admin/v1/revocations", ""), 200, `{"revocations":[]}`)
	apitest.WantJSON(t, callAdmin(t, h, "GET", "/admin/v1/users/ada", ""), 200, `{"uid":"u1","username":"ada","accounts":[],"has_password":false,"disabled":false,"created_at":"2026-01-02T03:04:05Z"}`)
}

func TestAdminRefusesEmptyRevocations(t *testing.T) {
	for _, body := range []string{
		`{"kind":"all","value":"x"}`, `{"kind":"kid","value":"k"}`, `{"kind":"moon","value":"x"}`,
		`{"kind":"all","reason":"because"}`,
	} {
		f := &fakeOperators{revoked: done()}
		apitest.Want(t, callAdmin(t, newAdmin(f), "POST", "/admin/v1/revocations", body), 400, "invalid_revocation")
		if f.asked != "" {
			t.Errorf("%s: asked %s", body, f.asked)
		}
	}
	values := strings.Repeat(`"`+strings.Repeat("a", 36)+`",`, 1000)
	f := &fakeOperators{revoked: done()}
	if res := callAdmin(t, newAdmin(f), "POST", "/admin/v1/revocations/bulk", `{"kind":"jti","values":[`+values[:len(values)-1]+`]}`); res.StatusCode != 200 {
		t.Errorf("a thousand: %d", res.StatusCode)
	}
	f = &fakeOperators{}
	apitest.Want(t, callAdmin(t, newAdmin(f), "POST", "/admin/v1/revocations/bulk", `{"kind":"jti","values":[`+values+values[:len(values)-1]+`]}`), 413, "body_too_large")
	apitest.Want(t, callAdmin(t, newAdmin(f), "POST", "/admin/v1/revocations/bulk", `{"kind":"jti","values":["x"],"reason":"because"}`), 400, "invalid_revocation")
	if f.asked != "" {
		t.Errorf("asked %s", f.asked)
	}
}

// A name with a slash, a percent sign or a letter of any alphabet is one name in every path.
func TestAdminNamesInPaths(t *testing.T) {
	for _, name := range []string{
		"a/b", "a/", "/a", "//", "..", ".", "a b", "a+b", "100%", "%2F", "a%2Fb", "ünï", "日本", "😀", "a?b#c", "a;b", "ada@example.com", "password", "users", "a\\b", "{ref}",
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeOperators{revoked: done()}
			h := newAdmin(f)
			for _, end := range []string{"", "/"} {
				path := "/admin/v1/users/" + strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
				if res := callAdmin(t, h, "GET", path+end, ""); res.StatusCode != 200 || f.asked != "user "+quoted(name) {
					t.Errorf("%s: %d, asked %s", path+end, res.StatusCode, f.asked)
				}
				if res := callAdmin(t, h, "POST", path+"/disable"+end, ""); res.StatusCode != 200 || f.asked != "disable "+quoted(name) {
					t.Errorf("%s/disable: %d, asked %s", path, res.StatusCode, f.asked)
				}
				if res := callAdmin(t, h, "DELETE", path+end, ""); res.StatusCode != 200 || f.asked != "remove "+quoted(name) {
					t.Errorf("DELETE %s: %d, asked %s", path, res.StatusCode, f.asked)
				}
			}
		})
	}
	for _, path := range []string{
		"/admin/v1/users//disable", "/admin/v1/users/../users/ada", "/admin//v1/users", "/admin/v1/users/a/b", "/admin/v1/users/%ff", "/admin/v1/users/%2F",
		"/admin/v1/users/./ada", "/admin/v1/sessions/a/b", "/admin", "/", "/admin/v1/users/ada//", "/admin/v2/users",
	} {
		f := &fakeOperators{}
		res := callAdmin(t, newAdmin(f), "DELETE", path, "")
		apitest.Want(t, res, 404, "not_found")
		if f.asked != "" {
			t.Errorf("%s: asked %s", path, f.asked)
		}
	}
}

func TestAdminErrorsOfTheBroker(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
	}{
		{&broker.Error{Code: broker.CodeUserExists, Message: "taken"}, 409, "user_exists"},
		{&broker.Error{Code: broker.CodeUnknownUser}, 404, "unknown_user"},
		{&broker.Error{Code: broker.CodeUnknownSession}, 404, "unknown_session"},
		{&broker.Error{Code: broker.CodeUnknownClient}, 404, "unknown_client"},
		{&broker.Error{Code: broker.CodeInvalidUser}, 400, "invalid_user"},
		{&broker.Error{Code: broker.CodeInvalidRevocation}, 400, "invalid_revocation"},
		{&broker.Error{Code: broker.CodeBusy}, 503, "busy"},
		{errors.New("the store's secret words"), 500, "internal"},
	}
	for _, tt := range tests {
		for _, op := range operations() {
			if op.asked == "" {
				continue
			}
			res := callAdmin(t, newAdmin(&fakeOperators{err: tt.err}), op.method, op.path, op.body)
			if p := apitest.Want(t, res, tt.status, tt.code); strings.Contains(p.Detail, "secret") {
				t.Errorf("%s %s reveals the cause: detail %q", op.method, op.path, p.Detail)
			}
			if (tt.status == 503) != (res.Header.Get("Retry-After") == "1") {
				t.Errorf("%s %s: %v", op.method, op.path, res.Header)
			}
		}
	}
}

func TestAdminPathsOfMissingPartsDoNotExist(t *testing.T) {
	h := newAdmin(nil, func(c *admin.Config) { *c = admin.Config{Token: adminToken, Logger: c.Logger} })
	for _, op := range operations() {
		res := callAdmin(t, h, op.method, op.path, op.body)
		if op.pattern == "/livez" {
			continue
		}
		apitest.Want(t, res, 404, "not_found")
	}
}

func TestAdminHeadIsGet(t *testing.T) {
	res := callAdmin(t, newAdmin(&fakeOperators{}), "HEAD", "/admin/v1/status", "")
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
	_, _ = io.Copy(io.Discard, res.Body)
}

func quoted(name string) string { return strconv.Quote(name) }

func TestAdminRefusesImpossibleRotations(t *testing.T) {
	for _, body := range []string{
		`{"purpose":"moon"}`, `{"purpose":""}`, `{"algorithm":"HS256"}`, `{"algorithm":"none"}`,
		`{"purpose":"feed","algorithm":"ES256"}`, `{"purpose":"master","algorithm":"EdDSA"}`,
	} {
		f := &fakeOperators{}
		apitest.Want(t, callAdmin(t, newAdmin(f), "POST", "/admin/v1/keys/rotate", body), 400, "invalid_rotation")
		if f.asked != "" {
			t.Errorf("%s: asked %s", body, f.asked)
		}
	}
	apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{}), "GET", "/admin/v1/keys/jwks?purpose=master", ""), 400, "invalid_parameter")
}
