package oauth_test

import (
	"io"
	"net/http"
	"testing"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

const gatewayClaims = `{"sub":"u1","client_id":"demo-spa","scope":"orders:read profile","sid":"s1","aud":["orders","billing"]}`

func TestGatewayAcceptsAValidToken(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		f := &apitest.Fake{Claims: gatewayClaims}
		// A gateway passes on the headers of the user's request, whose Origin the broker must ignore.
		res := apitest.Call(apitest.New(t, f), method, "/auth/verify/", "", "Authorization: bEARER t1", "Origin: http://app.example", "Sec-Fetch-Site: cross-site")
		if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || len(body) != 0 || f.Token != "t1" {
			t.Errorf("%s: %d %q, verified the token %q", method, res.StatusCode, body, f.Token)
		}
		for name, want := range map[string]string{
			"X-Auth-Subject": "u1", "X-Auth-Client": "demo-spa", "X-Auth-Scope": "orders:read profile", "X-Auth-Session": "s1",
			"Cache-Control": "no-store",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", method, name, got, want)
			}
		}
	}
}

func TestGatewayLeavesOutClaimsThatAreNotPrintableASCII(t *testing.T) {
	f := &apitest.Fake{Claims: `{"sub":"jos\u00e9","client_id":"a\r\nX-Auth-Scope: all","scope":"","sid":"s1","aud":["orders"]}`}
	res := apitest.Call(apitest.New(t, f), "GET", "/auth/verify", "", "Authorization: Bearer t1")
	if res.StatusCode != 200 || res.Header.Get("X-Auth-Session") != "s1" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	for _, name := range []string{"X-Auth-Subject", "X-Auth-Client", "X-Auth-Scope"} {
		if got := res.Header.Values(name); len(got) != 0 {
			t.Errorf("%s = %q, want none", name, got)
		}
	}
}

// Every request without a valid token is answered 401: nginx turns all statuses except 2xx, 401 and
// 403 into 500.
func TestGatewayRefusesEverythingElseWith401(t *testing.T) {
	const missing, invalid = `Bearer realm="tokenbroker"`, `Bearer realm="tokenbroker", error="invalid_token"`
	for name, c := range map[string]struct {
		headers   []string
		err       error
		challenge string
	}{
		"no header":      {nil, nil, missing},
		"empty header":   {[]string{"Authorization: "}, nil, missing},
		"no token":       {[]string{"Authorization: Bearer"}, nil, missing},
		"an empty token": {[]string{"Authorization: Bearer   "}, nil, missing},
		"basic":          {[]string{"Authorization: Basic YTpi"}, nil, missing},
		"two headers":    {[]string{"Authorization: Bearer t1", "Authorization: Bearer t1"}, nil, missing},
		"expired":        {[]string{"Authorization: Bearer t1"}, &broker.Error{Code: httpapi.CodeTokenExpired}, invalid},
		"revoked":        {[]string{"Authorization: Bearer t1"}, &broker.Error{Code: httpapi.CodeTokenRevoked}, invalid},
		"bad":            {[]string{"Authorization: Bearer \x00\xff"}, &broker.Error{Code: httpapi.CodeTokenInvalid}, invalid},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			res := apitest.Call(apitest.New(t, &apitest.Fake{Claims: gatewayClaims, VerifyErr: c.err}), method, "/auth/verify/?nonsense=%zz", "", append(c.headers, "Accept: text/html")...)
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != 401 || len(body) != 0 || res.Header.Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%s %s: %d %q, challenge %q, want 401 and %q", method, name, res.StatusCode, body, res.Header.Get("WWW-Authenticate"), c.challenge)
			}
		}
	}
	res := apitest.Call(apitest.New(t, &apitest.Fake{VerifyErr: &broker.Error{Code: broker.CodeUnavailable}}), "GET", "/auth/verify", "", "Authorization: Bearer t1")
	apitest.Want(t, res, 503, "unavailable")
}

func TestGatewayDemands(t *testing.T) {
	for query, want := range map[string]int{
		"audience=orders":                      200,
		"audience=billing&audience=other":      200,
		"audience=other":                       401,
		"scope=orders:read":                    200,
		"scope=orders:read%20profile":          200,
		"scope=profile&scope=orders:read":      200,
		"scope=orders:read+orders:write":       403,
		"scope=orders":                         403,
		"audience=other&scope=orders:write":    401,
		"audience=orders&scope=orders:write":   403,
		"audience=":                            400,
		"scope=":                               400,
		"scope=+":                              400,
		"scope=orders:read&scope=%20%09":       400,
		"scopes=orders:read":                   400,
		"audience=orders&scope=%zz":            400,
		"audience=orders;scope=orders%3Awrite": 400,
	} {
		res := apitest.Call(apitest.New(t, &apitest.Fake{Claims: gatewayClaims}), "GET", "/auth/verify?"+query, "", "Authorization: Bearer t1")
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", query, res.StatusCode, want)
		}
		if passed := res.Header.Get("X-Auth-Subject") != ""; passed != (want == http.StatusOK) {
			t.Errorf("%s: X-Auth-Subject is %q", query, res.Header.Get("X-Auth-Subject"))
		}
	}
}

func TestVerify(t *testing.T) {
	f := &apitest.Fake{Claims: `{"sub":"u1"}`}
	h := apitest.New(t, f)
	apitest.WantJSON(t, apitest.Call(h, "POST", "/auth/verify/", `{"token":"t1"}`), 200, `{"sub":"u1"}`)
	if f.Token != "t1" {
		t.Errorf("verified the token %q", f.Token)
	}
	for _, code := range []broker.Code{httpapi.CodeTokenExpired, httpapi.CodeTokenRevoked, httpapi.CodeTokenInvalid} {
		f.VerifyErr = &broker.Error{Code: code}
		res := apitest.Call(h, "POST", "/auth/verify", `{"token":"t1"}`)
		apitest.Want(t, res, 401, string(code))
		if got := res.Header.Get("WWW-Authenticate"); got != `Bearer realm="tokenbroker", error="invalid_token"` {
			t.Errorf("challenge %q", got)
		}
	}
	f.VerifyErr = &broker.Error{Code: broker.CodeUnavailable}
	apitest.Want(t, apitest.Call(h, "POST", "/auth/verify", `{"token":"t1"}`), 503, "unavailable")
	f.VerifyErr, f.Claims = nil, ""
	apitest.Want(t, apitest.Call(h, "POST", "/auth/verify", `{"token":"t1"}`), 500, "internal")
}
