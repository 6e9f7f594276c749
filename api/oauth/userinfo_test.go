package oauth_test

import (
	"strings"
	"testing"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestOpenIDCoreSection531UserInfoByGetAndPost(t *testing.T) {
	for name, row := range map[string]struct {
		method, body string
		headers      []string
	}{
		"GET":                       {"GET", "", []string{"Authorization: Bearer t1"}},
		"POST with the header":      {"POST", "", []string{"Authorization: bEARER  t1", "Content-Type: "}},
		"POST with a form":          {"POST", "access_token=t1", []string{formType}},
		"POST, the form is without": {"POST", "x=y", []string{formType, "Authorization: Bearer t1"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{User: &broker.UserInfo{Claims: map[string]any{"sub": "u1", "email_verified": true}, ClientID: "app"}}
			res := apitest.Call(apitest.New(t, f), row.method, "/oauth2/userinfo", row.body, row.headers...)
			apitest.WantJSON(t, res, 200, `{"email_verified":true,"sub":"u1"}`)
			if f.Token != "t1" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("token %q, %v", f.Token, res.Header)
			}
		})
	}
}

func TestRFC6750Section31Refusals(t *testing.T) {
	refused := func(code broker.Code) error { return &broker.Error{Code: code, Message: "m"} }
	for name, row := range map[string]struct {
		method, path, body string
		headers            []string
		err                error
		status             int
		challenge          string
	}{
		"no token":                   {"GET", "", "", nil, nil, 401, `Bearer realm="tokenbroker"`},
		"an empty token":             {"GET", "", "", []string{"Authorization: Bearer "}, nil, 401, `Bearer realm="tokenbroker"`},
		"Basic":                      {"GET", "", "", []string{apitest.DemoService}, nil, 401, `Bearer realm="tokenbroker"`},
		"a form that is not sent so": {"POST", "", "access_token=t1", []string{"Content-Type: text/plain"}, nil, 401, `Bearer realm="tokenbroker"`},
		"section 2.3: the query":     {"GET", "?access_token=t1", "", nil, nil, 400, `error="invalid_request"`},
		"the query and the header":   {"GET", "?access_token=t1", "", []string{"Authorization: Bearer t1"}, nil, 400, `error="invalid_request"`},
		"two headers":                {"GET", "", "", []string{"Authorization: Bearer t1", "Authorization: Bearer t1"}, nil, 400, `error="invalid_request"`},
		"the header and the form":    {"POST", "", "access_token=t1", []string{formType, "Authorization: Bearer t1"}, nil, 400, `error="invalid_request"`},
		"two tokens in the form":     {"POST", "", "access_token=t1&access_token=t1", []string{formType}, nil, 400, `error="invalid_request"`},
		"more than 64 KiB":           {"POST", "", "access_token=" + strings.Repeat("x", 64<<10), []string{formType}, nil, 413, `error="invalid_request"`},
		"expired":                    {"GET", "", "", []string{"Authorization: Bearer t1"}, refused(httpapi.CodeTokenExpired), 401, `error="invalid_token"`},
		"revoked":                    {"GET", "", "", []string{"Authorization: Bearer t1"}, refused(httpapi.CodeTokenRevoked), 401, `error="invalid_token"`},
		"invalid":                    {"GET", "", "", []string{"Authorization: Bearer t1"}, refused(broker.CodeInvalidToken), 401, `error="invalid_token"`},
		"the scope openid is missing": {"GET", "", "", []string{"Authorization: Bearer t1"}, refused(broker.CodeInsufficientScope), 403,
			`error="insufficient_scope", error_description="m", scope="openid"`},
		"unavailable": {"GET", "", "", []string{"Authorization: Bearer t1"}, refused(broker.CodeUnavailable), 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{Err: row.err, User: &broker.UserInfo{}}
			res := apitest.Call(apitest.New(t, f), row.method, "/oauth2/userinfo"+row.path, row.body, row.headers...)
			challenge := res.Header.Get("WWW-Authenticate")
			if res.StatusCode != row.status || !strings.HasSuffix(challenge, row.challenge) && !strings.Contains(challenge, row.challenge+", ") || (row.challenge == "") != (challenge == "") {
				t.Errorf("%d %q, want %d %q", res.StatusCode, challenge, row.status, row.challenge)
			}
			if row.err == nil && len(f.Calls) > 0 {
				t.Errorf("the broker was asked: %v", f.Calls)
			}
		})
	}
}
