// Package httpclient makes HTTP clients that do not follow redirects, so that credentials go
// only to the address that was configured.
package httpclient

import (
	"net/http"
	"time"
)

// RefuseRedirects is an [http.Client.CheckRedirect] with which the client returns the
// redirect itself as the answer.
func RefuseRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// WithoutRedirects returns a copy of c that follows no redirects and has no Timeout: the
// caller bounds each request by its context. If c is nil, the copy is of [http.DefaultClient].
func WithoutRedirects(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	copied := *c
	copied.Timeout = 0
	copied.CheckRedirect = RefuseRedirects
	return &copied
}

// New returns a client that does not follow redirects. With a timeout of 0, only the context of
// a request limits it.
func New(transport http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: RefuseRedirects}
}
