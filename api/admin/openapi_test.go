package admin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"tokenbroker/api/admin"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
)

// document is openapi-admin.yaml as the tests read it.
type document struct{ root map[string]any }

func adminDocument(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile("../openapi-admin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := yaml.Unmarshal(text, &d.root); err != nil {
		t.Fatal(err)
	}
	return &d
}

// at follows keys into node, and references to where they point.
func (d *document) at(node any, keys ...string) map[string]any {
	m, _ := node.(map[string]any)
	for {
		ref, ok := m["$ref"].(string)
		if !ok {
			break
		}
		m = d.at(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	if len(keys) == 0 || m == nil {
		return m
	}
	return d.at(m[keys[0]], keys[1:]...)
}

func (d *document) operation(method, pattern string) map[string]any {
	return d.at(d.root, "paths", pattern, strings.ToLower(method))
}

// check returns the first difference between an answer and its documentation.
func (d *document) check(method, pattern string, res *http.Response) error {
	response := d.at(d.operation(method, pattern), "responses", strconv.Itoa(res.StatusCode))
	if response == nil {
		return fmt.Errorf("status %d is not documented", res.StatusCode)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	content := d.at(response, "content", kind)
	if content == nil {
		return fmt.Errorf("status %d: content type %q is not documented", res.StatusCode, kind)
	}
	for name := range d.at(response, "headers") {
		if res.Header.Get(name) == "" {
			return fmt.Errorf("status %d: header %s is missing", res.StatusCode, name)
		}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasSuffix(kind, "json") {
		return err
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return d.conforms(v, content["schema"], "body")
}

// conforms supports the part of JSON Schema that the document uses. An object must not have
// members that its schema does not name.
func (d *document) conforms(v any, node any, where string) error {
	schema := d.at(node)
	if schema == nil {
		return fmt.Errorf("%s: no schema", where)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%s: %v is not in the enumeration", where, v)
	}
	fits := false
	switch v := v.(type) {
	case string:
		fits = schema["type"] == "string"
	case bool:
		fits = schema["type"] == "boolean"
	case float64:
		fits = schema["type"] == "number" || schema["type"] == "integer" && v == float64(int64(v))
	case []any:
		fits = schema["type"] == "array"
		for i, item := range v {
			if err := d.conforms(item, schema["items"], fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		fits = schema["type"] == "object"
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Errorf("%s: %v is missing", where, name)
			}
		}
		properties, closed := schema["properties"].(map[string]any)
		for name, member := range v {
			if !closed {
				break
			}
			if err := d.conforms(member, properties[name], where+"."+name); err != nil {
				return err
			}
		}
	}
	if !fits {
		return fmt.Errorf("%s: %v is not of type %v", where, v, schema["type"])
	}
	return nil
}

// openapi-admin.yaml is written by hand and must contain every path with its methods.
func TestAdminOpenAPIDocumentsEveryOperation(t *testing.T) {
	d := adminDocument(t)
	var documented []string
	for pattern, item := range d.at(d.root, "paths") {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				documented = append(documented, strings.ToUpper(method)+" "+pattern)
			}
		}
	}
	slices.Sort(documented)
	if diff := cmp.Diff(admin.Routes(adminConfig(&fakeOperators{})), documented); diff != "" {
		t.Errorf("operations (-handler +openapi):\n%s", diff)
	}
}

// Every answer is of a documented status and has the documented body; the full answers of the
// fake have every member of the types.
func TestAdminAnswersAreAsDocumented(t *testing.T) {
	d := adminDocument(t)
	seen := map[string]bool{}
	check := func(t *testing.T, op operation, f *fakeOperators, headers ...string) {
		t.Helper()
		res := callAdmin(t, newAdmin(f), op.method, op.path, op.body, headers...)
		seen[op.method+" "+op.pattern] = true
		if err := d.check(op.method, op.pattern, res); err != nil {
			t.Errorf("%s %s: %v", op.method, op.path, err)
		}
	}
	for _, op := range operations() {
		f := &fakeOperators{revoked: done()}
		check(t, op, f)
		check(t, op, &fakeOperators{empty: true, revoked: operator.Revoked{Kind: "sid", Value: "s1"}}) // and 202
		check(t, op, f, "Host: evil.example")
		check(t, op, f, "Origin: null")
		check(t, op, f, "Authorization: Bearer nope")
		if op.body != "" {
			check(t, op, f, "Content-Type: text/plain")
		}
		if op.asked == "" {
			continue
		}
		check(t, op, &fakeOperators{err: errors.New("x")})
		check(t, op, &fakeOperators{err: &broker.Error{Code: broker.CodeUnavailable}})
		if strings.Contains(op.pattern, "{ref}") {
			check(t, op, &fakeOperators{err: &broker.Error{Code: broker.CodeUnknownUser}})
		}
		if strings.Contains(op.pattern, "{id}") {
			check(t, op, &fakeOperators{err: &broker.Error{Code: broker.CodeUnknownClient}})
		}
		if op.method == "POST" && op.pattern == "/admin/v1/clients" {
			check(t, op, &fakeOperators{err: &broker.Error{Code: broker.CodeClientExists}})
			check(t, op, &fakeOperators{err: &broker.Error{Code: broker.CodeInvalidClientConfig}})
		}
		if strings.Contains(op.pattern, "{kid}") {
			check(t, op, &fakeOperators{err: &broker.Error{Code: broker.CodeUnknownKey}})
		}
		if op.method == "POST" && op.pattern == "/admin/v1/users" {
			check(t, op, &fakeOperators{err: &broker.Error{Code: broker.CodeUserExists}})
		}
	}
	if routes := admin.Routes(adminConfig(&fakeOperators{})); len(seen) != len(routes) {
		t.Errorf("looked at %d of %d operations", len(seen), len(routes))
	}
}

// Every documented member of a body is read: a value of the wrong type is refused with its name, and
// so is a missing required member.
func TestAdminReadsTheDocumentedBodies(t *testing.T) {
	d := adminDocument(t)
	members := 0
	for _, route := range admin.Routes(adminConfig(&fakeOperators{})) {
		method, pattern, _ := strings.Cut(route, " ")
		schema := d.at(d.operation(method, pattern), "requestBody", "content", "application/json", "schema")
		if (schema != nil) == (method == "GET") {
			t.Errorf("%s: body documented: %v", route, schema != nil)
		}
		required, _ := schema["required"].([]any)
		path := strings.NewReplacer("{ref}", "ada", "{sid}", "s1", "{kid}", "k1", "{id}", "web-app").Replace(pattern)
		for name := range d.at(schema, "properties") {
			members++
			p := apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{}), method, path, `{"`+name+`":7}`), 400, "invalid_body")
			if !strings.HasPrefix(p.Detail, name+" must be ") {
				t.Errorf("%s: %s: detail %q", route, name, p.Detail)
			}
		}
		for _, missing := range required {
			body := map[string]any{}
			for _, name := range required {
				if name == missing {
					continue
				}
				body[name.(string)] = "x"
				if d.at(schema, "properties", name.(string))["type"] == "array" {
					body[name.(string)] = []string{"x"}
				}
			}
			text, _ := json.Marshal(body)
			p := apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{}), method, path, string(text)), 400, "invalid_body")
			if p.Detail != missing.(string)+" is missing or empty" {
				t.Errorf("%s without %v: detail %q", route, missing, p.Detail)
			}
		}
	}
	if members < 12 {
		t.Errorf("found only %d members: the test does not read the document", members)
	}
}

func TestAdminReasonsAreAsDocumented(t *testing.T) {
	d := adminDocument(t)
	reasons, _ := d.at(d.root, "components", "schemas", "Reason")["enum"].([]any)
	for _, reason := range reasons {
		f := &fakeOperators{revoked: done()}
		res := callAdmin(t, newAdmin(f), "POST", "/admin/v1/revocations", fmt.Sprintf(`{"kind":"sub","value":"a/b","reason":%q}`, reason))
		if res.StatusCode != 200 || f.asked != fmt.Sprintf(`revoke sub "a/b" %s`, reason) {
			t.Errorf("%v: %d, asked %s", reason, res.StatusCode, f.asked)
		}
	}
	if len(reasons) != 10 {
		t.Errorf("%d reasons", len(reasons))
	}
}
