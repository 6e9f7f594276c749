// Package httpclient makes HTTP clients that do not follow redirects, so that credentials go
// only to the address that was configured.
package httpclient

import "net/http"

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
