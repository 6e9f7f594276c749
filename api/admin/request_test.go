package admin_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestAdminBodies(t *testing.T) {
	const users, ada, revocations = "POST /admin/v1/users", "PATCH /admin/v1/users/ada", "POST /admin/v1/revocations"
	const clients = "POST /admin/v1/clients"
	tests := []struct{ call, body, code, detail string }{
		{users, `{"password":"pw"}`, "invalid_body", "username is missing or empty"},
		{users, `{"username":"a","password":""}`, "invalid_body", "password is missing or empty"},
		{users, `{"username":1}`, "invalid_body", "username must be a string, not a number"},
		{users, `{"attributes":[]}`, "invalid_body", "attributes must be an object, not an array"},
		{users, `{"attributes":null}`, "invalid_body", "attributes must be an object, not null"},
		{users, `{"attributes":"x"}`, "invalid_body", "attributes must be an object, not a string"},
		{users, `{"roles":"admin"}`, "invalid_body", "roles must be an array of strings, not a string"},
		{users, `{"roles":["a",1]}`, "invalid_body", "roles must be an array of strings"},
		{users, `{"roles":{}}`, "invalid_body", "roles must be an array of strings, not an object"},
		{users, `{"roles":["\ud800"]}`, "invalid_body", "roles is not valid Unicode"},
		{users, `{"username":"a","username":"b"}`, "invalid_body", "a member occurs twice: username"},
		{ada, `{}`, "invalid_body", "attributes and roles are both missing; send at least one of them"},
		{ada, ``, "invalid_body", "attributes and roles are both missing; send at least one of them"},
		{ada, `{"roles":null}`, "invalid_body", "roles must be an array of strings, not null"},
		{ada, `[]`, "invalid_body", "the body is not a JSON object"},
		{"POST /admin/v1/users/ada/password", `{"password":"p","keep_sessions":"true"}`, "invalid_body", "keep_sessions must be a boolean, not a string"},
		{"POST /admin/v1/users/ada/password", `{"password":"p","keep_sessions":null}`, "invalid_body", "keep_sessions must be a boolean, not null"},
		{"POST /admin/v1/users/ada/password", `{"password":"p","keep_sessions":1}`, "invalid_body", "keep_sessions must be a boolean, not a number"},
		{"POST /admin/v1/users/ada/disable", `{"note":7}`, "invalid_body", "note must be a string, not a number"},
		{"POST /admin/v1/users/ada/enable", `{"note":false}`, "invalid_body", "note must be a string, not a boolean"},
		{"DELETE /admin/v1/users/ada", `{"note":{}}`, "invalid_body", "note must be a string, not an object"},
		{"DELETE /admin/v1/sessions/s1", `{`, "invalid_body", "the body is not valid JSON"},
		{clients, `{}`, "invalid_body", "id is missing or empty"},
		{clients, `{"id":"a","name":null}`, "invalid_body", "name must be a string, not null"},
		{clients, `{"id":"a","name":"\ud800"}`, "invalid_body", "name is not valid Unicode"},
		{clients, `{"id":"a","first_party":null}`, "invalid_body", "first_party must be a boolean, not null"},
		{clients, `{"id":"a","workloads":["x"]}`, "invalid_body", "workloads must be an array of objects"},
		{clients, `{"id":"a","workloads":[{"sub":"x"}]}`, "invalid_body", "workloads must be an array of objects with the strings issuer, subject, audience and jwks_uri"},
		{clients, `{"id":"a","workloads":[{"subject":1}]}`, "invalid_body", "workloads must be an array of objects with the strings issuer, subject, audience and jwks_uri"},
		{clients + "/a/secret", `{"overlap":"1"}`, "invalid_body", "overlap must be a duration, for example 24h, or 0s"},
		{revocations, `{"kind":"sub"}`, "invalid_body", "value is missing or empty"},
		{revocations, `{"value":"x"}`, "invalid_body", "kind is missing or empty"},
		{revocations, `{"kind":"all","value":"x"}`, "invalid_revocation", "the kind all has no value; leave value out"},
		{revocations, `{"kind":"kid","value":"x"}`, "invalid_revocation", "kind must be sub, sid, jti, client or all"},
		{revocations + "/bulk", `{"kind":"sid"}`, "invalid_body", "values is missing or empty"},
		{revocations + "/bulk", `{"kind":"sid","values":"s1"}`, "invalid_body", "values must be an array of strings, not a string"},
		{revocations + "/bulk", `{"kind":"sid","values":["s1"],"reason":"x"}`, "invalid_revocation", "reason is unknown; leave it out, or use a code that the API documents for revocations"},
		{revocations, `{"kind":"SUB","value":"x"}`, "invalid_revocation", "kind must be sub, sid, jti, client or all"},
		{revocations, `{"kind":"sub","value":"x","reason":"because"}`, "invalid_revocation", "reason is unknown; leave it out, or use a code that the API documents for revocations"},
		{revocations, `{"kind":"sub","value":"x","reason":""}`, "invalid_revocation", "reason is unknown; leave it out, or use a code that the API documents for revocations"},
	}
	for _, tt := range tests {
		t.Run(tt.call+" "+tt.body, func(t *testing.T) {
			f := &fakeOperators{}
			method, path, _ := strings.Cut(tt.call, " ")
			p := apitest.Want(t, callAdmin(t, newAdmin(f), method, path, tt.body), 400, tt.code)
			if p.Detail != tt.detail || f.asked != "" {
				t.Errorf("detail %q, want %q; asked %q", p.Detail, tt.detail, f.asked)
			}
		})
	}
}

func TestAdminContentTypes(t *testing.T) {
	for _, op := range operations() {
		if op.method == "GET" {
			continue
		}
		body := op.body
		if body == "" {
			body = "{}"
		}
		for _, header := range []string{"Content-Type: text/plain", "Content-Type: ", "Content-Type: application/x-www-form-urlencoded", "Content-Encoding: gzip"} {
			f := &fakeOperators{}
			apitest.Want(t, callAdmin(t, newAdmin(f), op.method, op.path, body, header), 415, "unsupported_media_type")
			if f.asked != "" {
				t.Errorf("asked %s", f.asked)
			}
		}
		over := fmt.Sprintf(`{"pad":"%s"}`, strings.Repeat("x", 64<<10))
		apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{}), op.method, op.path, over), 413, "body_too_large")
	}
	apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{}), "POST", "/admin/v1/users/ada/disable", "", "Content-Type: "), 415, "unsupported_media_type")
}

func TestAdminQueries(t *testing.T) {
	tests := []struct{ query, code string }{
		{"limit=0", "invalid_parameter"}, {"limit=1001", "invalid_parameter"}, {"limit=-1", "invalid_parameter"}, {"limit=", "invalid_parameter"},
		{"limit=ten", "invalid_parameter"}, {"limit=1e2", "invalid_parameter"}, {"limit=99999999999999999999", "invalid_parameter"}, {"limit=%201", "invalid_parameter"},
		{"limit=5&limit=5", "repeated_parameter"}, {"after=a&after=b", "repeated_parameter"}, {"x=1&x=2", "repeated_parameter"},
		{"after=%zz", "invalid_parameter"}, {"after=a;b", "invalid_parameter"}, {"after=%ff", "invalid_parameter"},
		{"limit=1", ""}, {"limit=1000", ""}, {"after=", ""}, {"", ""},
	}
	for _, path := range []string{"/admin/v1/users", "/admin/v1/sessions", "/admin/v1/revocations"} {
		for _, tt := range tests {
			t.Run(path+"?"+tt.query, func(t *testing.T) {
				f := &fakeOperators{}
				res := callAdmin(t, newAdmin(f), "GET", path+"?"+tt.query, "")
				if tt.code == "" {
					if res.StatusCode != 200 {
						t.Errorf("status %d", res.StatusCode)
					}
					return
				}
				apitest.Want(t, res, 400, tt.code)
				if f.asked != "" {
					t.Errorf("asked %s", f.asked)
				}
			})
		}
	}
	for _, ended := range []string{"1", "TRUE", "", "yes"} {
		p := apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{}), "GET", "/admin/v1/sessions?ended="+ended, ""), 400, "invalid_parameter")
		if p.Detail != "ended must be true or false" {
			t.Errorf("detail %q", p.Detail)
		}
	}
	f := &fakeOperators{}
	callAdmin(t, newAdmin(f), "GET", "/admin/v1/sessions?ended=false", "")
	if f.asked != "sessions {User: After: Limit:100 Ended:false}" {
		t.Errorf("asked %s", f.asked)
	}
}

func TestAdminMethods(t *testing.T) {
	for path, allow := range map[string]string{
		"/admin/v1/users": "GET, HEAD, POST", "/admin/v1/users/ada": "DELETE, GET, HEAD, PATCH", "/admin/v1/users/ada/password": "POST",
		"/admin/v1/sessions": "GET, HEAD", "/admin/v1/sessions/s1": "DELETE", "/admin/v1/revocations": "GET, HEAD, POST",
		"/admin/v1/status": "GET, HEAD", "/metrics": "GET, HEAD", "/livez": "GET, HEAD", "/readyz": "GET, HEAD",
	} {
		for _, method := range []string{"PUT", "OPTIONS", "TRACE", "get"} {
			res := callAdmin(t, newAdmin(&fakeOperators{}), method, path, "")
			apitest.Want(t, res, 405, "method_not_allowed")
			if got := res.Header.Get("Allow"); got != allow {
				t.Errorf("%s: Allow %q, want %q", path, got, allow)
			}
		}
	}
}

func TestAdminObserveSeesNoPath(t *testing.T) {
	var seen []string
	h := newAdmin(&fakeOperators{}, func(c *admin.Config) {
		c.Observe = func(route, method string, status int, _ time.Duration) {
			seen = append(seen, fmt.Sprintf("%s %s %d", method, route, status))
		}
	})
	callAdmin(t, h, "GET", "/admin/v1/users/ada", "")
	callAdmin(t, h, "GET", "/admin/v1/ada", "", "Authorization: ")
	callAdmin(t, h, "ada", "/livez", "")
	if got := strings.Join(seen, ","); got != "GET /admin/v1/users/{ref} 200,GET unmatched 401,other /livez 405" {
		t.Errorf("observed %s", got)
	}
}

var services = broker.ReceiptSummary{Applied: 1, Of: 2, SlowestMS: 6, Laggards: []string{"billing/ab12cd34"}}

const servicesJSON = `"applied":1,"of":2,"slowest_ms":6,"laggards":["billing/ab12cd34"]`

func TestOperatorsWait(t *testing.T) {
	waited := 0
	for _, op := range operations() {
		bulk := strings.HasSuffix(op.path, "/bulk")
		if op.answer != revokedJSON && !bulk {
			continue
		}
		waited++
		f := &fakeOperators{revoked: done()}
		f.revoked.ReceiptSummary = &services
		answer := strings.TrimSuffix(op.answer, "}") + "," + servicesJSON + "}"
		apitest.WantJSON(t, callAdmin(t, newAdmin(f), op.method, op.path+"?wait=2s", op.body), 200, answer)
		if f.req.Wait != 2*time.Second || f.req.Operator != "token" || f.req.Note != op.note {
			t.Errorf("%s: request %+v", op.path, f.req)
		}
		for _, wait := range apitest.BadWaits {
			f := &fakeOperators{revoked: done()}
			if res := callAdmin(t, newAdmin(f), op.method, op.path+"?wait="+wait, op.body); res.StatusCode != 400 || f.asked != "" {
				t.Errorf("%s?wait=%s: %d, asked %q", op.path, wait, res.StatusCode, f.asked)
			}
		}
	}
	if waited < 10 {
		t.Errorf("looked at %d operations", waited)
	}
	d := adminDocument(t)
	for _, op := range operations() {
		parameters, _ := d.operation(op.method, op.pattern)["parameters"].([]any)
		documented := slices.ContainsFunc(parameters, func(p any) bool { return d.at(p)["name"] == "wait" })
		if documented != (op.answer == revokedJSON || strings.HasSuffix(op.path, "/bulk") || op.pattern == "/admin/v1/keys/{kid}/revoke") {
			t.Errorf("%s %s: wait documented: %v", op.method, op.path, documented)
		}
	}
}
