// Package httpclient makes the HTTP clients of the commands.
package httpclient

import (
	"net/http"
	"time"
)

// New returns a client that follows no redirect, so that a token or a password goes only to the address
// that was named. With a timeout of 0 only the request's context limits a request.
func New(transport http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
