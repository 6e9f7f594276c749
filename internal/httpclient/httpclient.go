// Package httpclient makes HTTP clients that do not follow redirects, so that a token or a
// password goes only to the address that was configured.
package httpclient

import (
	"net/http"
	"time"
)

// New returns a client that follows no redirects. With a timeout of 0, only the request's
// context limits a request.
func New(transport http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// WithoutRedirects returns a client with the transport and the cookies of c that follows no
// redirects and has no Timeout. If c is nil, they are those of [http.DefaultClient].
func WithoutRedirects(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	copied := New(c.Transport, 0)
	copied.Jar = c.Jar
	return copied
}

// New returns a client that does not follow redirects. With a timeout of 0, only the context of
// a request limits it.
func New(transport http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: RefuseRedirects}
}
