package httpapi

import (
	"net/http"
	"testing"
)

func TestPrefersHTML(t *testing.T) {
	for accept, want := range map[string]bool{
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8": true, // Firefox, Chromium
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8":                       true, // Safari
		"text/html":               true,
		"TEXT/HTML":               true,
		"text/html;charset=utf-8": true,
		"text/html;q=0.001":       true,
		"text/*":                  true,
		"text/*;q=0.5, */*;q=0.4": true,
		"text/html;q=0.6, application/json;q=0.5":   true,
		"application/json;q=0.5 , text/html ;q=0.6": true,
		`a/b;x=",", text/html`:                      true,
		"text/html, application/json;q=1.5":         true, // not a quality value
		"":                                          false,
		"*/*":                                       false, // curl, fetch
		"application/json, text/plain, */*":         false, // axios
		"application/json, text/html":               false,
		"text/html;q=0.5, application/json":         false,
		"text/html, application/problem+json":       false,
		"text/html;q=0.5, */*":                      false,
		"text/html;q=0.5, application/*;q=0.5":      false,
		"text/html;q=0":                             false,
		"text/html;q=0, text/*":                     false,
		"text/html;q=x":                             false,
		"text/html;q=NaN":                           false,
		"text/html;q=-1":                            false,
		"text/plain":                                false,
		"text/htmlx":                                false,
		`a/b;x="text/html, text/html"`:              false,
		"application/xhtml+xml":                     false,
		",,;,":                                      false,
	} {
		if got := PrefersHTML(&http.Request{Header: http.Header{"Accept": {accept}}}); got != want {
			t.Errorf("%q: got %t", accept, got)
		}
	}
	if !PrefersHTML(&http.Request{Header: http.Header{"Accept": {"*/*;q=0.1", "text/html"}}}) {
		t.Error("the second line is not read")
	}
	if PrefersHTML(&http.Request{}) {
		t.Error("no Accept")
	}
}
