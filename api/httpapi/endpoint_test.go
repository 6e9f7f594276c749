package httpapi_test

import (
	"io"
	"testing"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
)

func TestDocumentsAreConditional(t *testing.T) {
	h := apitest.New(t, &apitest.Fake{})
	tests := []struct {
		path, ifNoneMatch string
		status            int
		etag, cache, body string
	}{
		{"/.well-known/jwks.json", "", 200, `"tag-a"`, "public, max-age=300", `{"keys":["a"]}`},
		{"/revocations/jwks.json", "", 200, `"tag-f"`, "public, max-age=60", `{"keys":["f"]}`},
		{"/.well-known/jwks.json", `"tag-a"`, 304, `"tag-a"`, "public, max-age=300", ""},
		{"/.well-known/jwks.json", `"x", W/"tag-a"`, 304, `"tag-a"`, "public, max-age=300", ""},
		{"/.well-known/jwks.json", `*`, 304, `"tag-a"`, "public, max-age=300", ""},
		{"/.well-known/jwks.json", `"tag"`, 200, `"tag-a"`, "public, max-age=300", `{"keys":["a"]}`},
	}
	for _, tt := range tests {
		headers := []string{}
		if tt.ifNoneMatch != "" {
			headers = append(headers, "If-None-Match: "+tt.ifNoneMatch)
		}
		res := apitest.Call(h, "GET", tt.path, "", headers...)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != tt.status || res.Header.Get("ETag") != tt.etag || res.Header.Get("Cache-Control") != tt.cache || string(body) != tt.body {
			t.Errorf("%s %s: %d %v %s", tt.path, tt.ifNoneMatch, res.StatusCode, res.Header, body)
		}
	}
}

func TestMissingDocumentIsUnavailable(t *testing.T) {
	res := apitest.Call(apitest.New(t, &apitest.Fake{}, func(c *api.Config) { c.OAuth.JWKS = apitest.Document("", "", 0) }), "GET", "/.well-known/jwks.json", "")
	apitest.Want(t, res, 503, "unavailable")
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("cache control %q", res.Header.Get("Cache-Control"))
	}
}
