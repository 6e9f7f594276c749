package httpauth_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/validator/httpauth"
)

func orders() httpauth.Resource {
	return httpauth.Resource{
		URI: "https://api.example.com/orders", AuthorizationServers: []string{"https://id.example.com"},
		Scopes: []string{"orders:read", "orders:write"}, Name: `Orders "of" ours`, DocumentationURI: "https://docs.example.com/orders?lang=en",
	}
}

// RFC 9728 §2 and §3.2: the members of the document.
func TestRFC9728Section2Metadata(t *testing.T) {
	minimal := httpauth.Resource{URI: "http://127.0.0.1:8082/", AuthorizationServers: []string{"http://127.0.0.1:8080"}}
	for name, row := range map[string]struct {
		resource httpauth.Resource
		want     map[string]any
	}{
		"all members": {orders(), map[string]any{
			"resource": "https://api.example.com/orders", "authorization_servers": []any{"https://id.example.com"},
			"scopes_supported": []any{"orders:read", "orders:write"}, "bearer_methods_supported": []any{"header"},
			"resource_name": `Orders "of" ours`, "resource_documentation": "https://docs.example.com/orders?lang=en",
		}},
		"only the required ones": {minimal, map[string]any{
			"resource": "http://127.0.0.1:8082/", "authorization_servers": []any{"http://127.0.0.1:8080"}, "bearer_methods_supported": []any{"header"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				got := ask(row.resource, method)
				if h := got.Header; got.StatusCode != 200 || h.Get("Content-Type") != "application/json" ||
					h.Get("Cache-Control") != "public, max-age=300" || h.Get("Access-Control-Allow-Origin") != "*" {
					t.Fatalf("%s: %d, %v", method, got.StatusCode, h)
				}
				if method == "HEAD" {
					continue
				}
				var document map[string]any
				if err := json.NewDecoder(got.Body).Decode(&document); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(row.want, document); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func ask(r httpauth.Resource, method string) *http.Response {
	w := httptest.NewRecorder()
	mux := http.NewServeMux()
	mux.Handle(r.MetadataPath(), r.Handler())
	mux.ServeHTTP(w, httptest.NewRequest(method, r.MetadataPath(), nil))
	return w.Result()
}

// RFC 9728 §3.1: pages of other origins may read the metadata, and only GET and HEAD have an answer.
func TestRFC9728Section3_1RequestsOfPages(t *testing.T) {
	preflight := ask(orders(), "OPTIONS")
	if h := preflight.Header; preflight.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "*" ||
		h.Get("Access-Control-Allow-Headers") != "*" || h.Get("Access-Control-Allow-Methods") != "GET, HEAD" {
		t.Errorf("a pre-flight: %d, %v", preflight.StatusCode, h)
	}
	if post := ask(orders(), "POST"); post.StatusCode != 405 || post.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST: %d, %v", post.StatusCode, post.Header)
	}
}

// RFC 9728 §3.1: the well-known path is between host and path, without the slash that ends the host.
func TestRFC9728Section3_1MetadataPath(t *testing.T) {
	const wellKnown = "/.well-known/oauth-protected-resource"
	for uri, want := range map[string]string{
		"https://api.example.com":             wellKnown,
		"https://api.example.com/":            wellKnown,
		"https://api.example.com/mcp":         wellKnown + "/mcp",
		"https://api.example.com/a/b/":        wellKnown + "/a/b/",
		"http://[::1]:8085/mcp":               wellKnown + "/mcp",
		"https://api.example.com/a%20b/%7Bc}": wellKnown + "/a%20b/%7Bc%7D",
	} {
		if got := (httpauth.Resource{URI: uri}).MetadataPath(); got != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}
}

// RFC 9728 §5.1 and RFC 6750 §3: refusals name the metadata and the scopes, each parameter once.
func TestRFC9728Section5_1Challenge(t *testing.T) {
	const metadata = `resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/orders"`
	for name, row := range map[string]struct {
		headers []string
		scopes  []string
		status  int
		want    string
	}{
		"no token":             {nil, []string{"hello:read", "profile"}, 401, `Bearer realm="api", ` + metadata + `, scope="hello:read profile"`},
		"no token, no scope":   {nil, nil, 401, `Bearer realm="api", ` + metadata},
		"an expired token":     {[]string{"Bearer expired"}, []string{"profile"}, 401, `Bearer realm="api", error="invalid_token", error_description="The access token expired", ` + metadata + `, scope="profile"`},
		"a token without them": {[]string{"Bearer good"}, []string{"profile", "a"}, 403, `Bearer realm="api", error="insufficient_scope", scope="profile a", ` + metadata},
		"two headers":          {[]string{"Bearer good", "Bearer good"}, []string{"a"}, 400, `Bearer realm="api", error="invalid_request", ` + metadata + `, scope="a"`},
		"a stale validator":    {[]string{"Bearer stale"}, []string{"a"}, 503, ""},
		"a good token":         {[]string{"Bearer good"}, []string{"profile"}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/orders", nil)
			r.Header["Authorization"] = row.headers
			got := serve(r, httpauth.ProtectedResource(orders()), httpauth.Scope(row.scopes...))
			if challenge := got.Header.Get("WWW-Authenticate"); got.StatusCode != row.status || challenge != row.want {
				t.Errorf("%d, %s\nwant %s", got.StatusCode, challenge, row.want)
			}
		})
	}
}

func TestChallengesWithoutTheOptionAreUnchanged(t *testing.T) {
	for header, want := range map[string]string{
		"":               `Bearer realm="api"`,
		"Bearer expired": `Bearer realm="api", error="invalid_token", error_description="The access token expired"`,
		"Bearer good":    `Bearer realm="api", error="insufficient_scope", scope="hello:write"`,
	} {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", header)
		if got := serve(r, httpauth.Scope("hello:write")).Header.Get("WWW-Authenticate"); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

// RFC 9728 §1.2: an https URL without fragment; the further rules are this package's. What is accepted is safe inside quotes.
func TestInvalidResourcesAreRefused(t *testing.T) {
	withURI := func(uri string) httpauth.Resource { r := orders(); r.URI = uri; return r }
	withIssuer := func(issuers ...string) httpauth.Resource {
		r := orders()
		r.AuthorizationServers = issuers
		return r
	}
	withScope := func(scope string) httpauth.Resource { r := orders(); r.Scopes = []string{scope}; return r }
	withDocs := func(uri string) httpauth.Resource { r := orders(); r.DocumentationURI = uri; return r }
	for name, row := range map[string]struct {
		resource httpauth.Resource
		want     string
	}{
		"empty":                  {httpauth.Resource{}, "not an absolute URL"},
		"relative":               {withURI("/orders"), "not an absolute URL"},
		"no host":                {withURI("https:///orders"), "not an absolute URL"},
		"opaque":                 {withURI("urn:orders"), "not an absolute URL"},
		"http":                   {withURI("http://api.example.com/"), "neither https nor http"},
		"http on localhost.name": {withURI("http://localhost.example.com/"), "neither https nor http"},
		"another scheme":         {withURI("javascript://127.0.0.1/"), "neither https nor http"},
		"a fragment":             {withURI("https://api.example.com/#a"), "fragment"},
		"an empty fragment":      {withURI("https://api.example.com/#"), "fragment"},
		"a query":                {withURI("https://api.example.com/?a=b"), "query"},
		"a user":                 {withURI("https://ada@api.example.com/"), "user name"},
		"a quote":                {withURI(`https://api.example.com/", scope="admin`), "canonical"},
		"a quote in the host":    {withURI(`https://api".example.com/`), "canonical"},
		"a backslash":            {withURI(`https://api.example.com/\`), "canonical"},
		"a line break":           {withURI("https://api.example.com/\r\nX-A: b"), "not an absolute URL"},
		"a space":                {withURI("https://api.example.com/a b"), "canonical"},
		"not ASCII":              {withURI("https://api.example.com/ä"), "canonical"},
		"a pattern of ServeMux":  {withURI("https://api.example.com/{id}"), "canonical"},
		"an upper-case scheme":   {withURI("HTTPS://api.example.com/"), "canonical"},
		"no issuer":              {withIssuer(), "no authorization server"},
		"an issuer over http":    {withIssuer("https://id.example.com", "http://id.example.com"), "neither https nor http"},
		"an empty issuer":        {withIssuer(""), "not an absolute URL"},
		"a scope with a quote":   {withScope(`a"b`), "not a scope"},
		"two scopes in one":      {withScope("a b"), "not a scope"},
		"a script as page":       {withDocs("javascript:alert(1)"), "not an http(s) URL"},
	} {
		t.Run(name, func(t *testing.T) {
			err := row.resource.Validate()
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("%v, want %q", err, row.want)
			}
			for _, use := range []func(){func() { row.resource.Handler() }, func() { httpauth.ProtectedResource(row.resource) }} {
				func() {
					defer func() {
						if recover() == nil {
							t.Error("no panic")
						}
					}()
					use()
				}()
			}
		})
	}
}

// FuzzChallenge: no resource that is accepted changes the form of the header.
func FuzzChallenge(f *testing.F) {
	for _, uri := range []string{"https://api.example.com/orders", "http://localhost:8082", `https://a"b/`, "https://[::1%25a]/x", "https://a/%22%0d%0a"} {
		f.Add(uri)
	}
	form := regexp.MustCompile(`^Bearer realm="api", resource_metadata="[!#-\[\]-~]+", scope="a"$`)
	f.Fuzz(func(t *testing.T, uri string) {
		resource := httpauth.Resource{URI: uri, AuthorizationServers: []string{"https://id.example.com"}}
		if resource.Validate() != nil {
			return
		}
		got := serve(httptest.NewRequest("GET", "/", nil), httpauth.ProtectedResource(resource), httpauth.Scope("a"))
		if challenge := got.Header.Get("WWW-Authenticate"); !form.MatchString(challenge) {
			t.Errorf("%q: %s", uri, challenge)
		}
		resource.Handler()
		http.NewServeMux().Handle(resource.MetadataPath(), resource.Handler())
	})
}
