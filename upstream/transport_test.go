package upstream_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

// typed sets the Content-Type of each response of o, and adds text before its body.
type typed struct {
	*op
	front string
}

// RoundTrip implements [http.RoundTripper].
func (a typed) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.op.RoundTrip(r)
	if err == nil {
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(a.front), resp.Body))
	}
	return resp, err
}

// TestAnswersOfAnyContentType checks that documents, keys and tokens are read as JSON, regardless
// of the Content-Type.
func TestAnswersOfAnyContentType(t *testing.T) {
	for _, tc := range []struct {
		name, front string
		typ         []string
	}{
		{"application/json", "", nil},
		{"a charset", "", []string{"application/json; charset=utf8"}},
		{"a charset in capitals", "", []string{"Application/JSON;Charset=\"UTF-8\";"}},
		{"of key sets", "", []string{"application/jwk-set+json"}},
		{"text/plain", "", []string{"text/plain"}},
		{"text/plain with a charset", "", []string{"text/plain; charset=utf-8"}},
		{"text/javascript", "", []string{"text/javascript"}},
		{"text/html", "", []string{"text/html"}},
		{"a form", "", []string{"application/x-www-form-urlencoded"}},
		{"unreadable", "", []string{";;"}},
		{"none", "", []string{}},
		{"two", "", []string{"text/plain", "text/html"}},
		{"a byte order mark", "\ufeff", []string{"application/json"}},
		{"a byte order mark in text", "\ufeff", []string{"text/plain"}},
		{"a byte order mark and space", "\ufeff\r\n ", []string{"text/plain"}},
		{"leading space", strings.Repeat("\n", 50), []string{"text/plain"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOP()
			o.typ = tc.typ
			p := o.provider(t, func(c *upstream.Config) { c.Transport = typed{o, tc.front} })
			o.answer("/token", status(http.StatusOK, `{"access_token":"a","token_type":"Bearer","id_token":"`+signed(t, nil)+`"}`))
			if _, err := p.Exchange(t.Context(), broker.CodeExchange{Code: "c", Nonce: "nonce-1"}); err != nil {
				t.Errorf("a code: %v", err)
			}
			o.answer("/token", status(http.StatusBadRequest, `{"error":"invalid_client"}`))
			if _, err := p.Exchange(t.Context(), broker.CodeExchange{Code: "c", Nonce: "nonce-1"}); err == nil || !strings.Contains(err.Error(), "status 400, invalid_client") {
				t.Errorf("a refusal: %v", err)
			}
		})
	}
}

// TestAnswersThatAreNotJSON checks that other content is not read as JSON.
func TestAnswersThatAreNotJSON(t *testing.T) {
	for name, body := range map[string]string{
		"a web page": "<!doctype html><title>Sign in</title>", "nothing": "", "a byte order mark": "\ufeff", "two byte order marks": "\ufeff\ufeff{}",
		"UTF-16": "\xff\xfe{\x00}\x00", "a form": "access_token=a&id_token=b",
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			p := o.provider(t, nil)
			o.answer("/token", status(http.StatusOK, body))
			if _, err := p.Exchange(t.Context(), broker.CodeExchange{Code: "c", Nonce: "nonce-1"}); !errors.Is(err, broker.ErrUpstreamUnavailable) {
				t.Errorf("tokens: %v", err)
			}
			o.answer("/jwks", status(http.StatusOK, body))
			if err := verifyIn(t, o.provider(t, nil), jose.RS256, "rsa", "rsa"); !errors.Is(err, broker.ErrUpstreamUnavailable) {
				t.Errorf("keys: %v", err)
			}
			o.answer("/.well-known/openid-configuration", status(http.StatusOK, body))
			if _, err := o.provider(t, nil).Check(t.Context()); !errors.Is(err, broker.ErrUpstreamUnavailable) {
				t.Errorf("the document: %v", err)
			}
		})
	}
}
