package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/api/origin"
	"tokenbroker/broker"
)

// origins are the allowed values of the Origin header, as browsers write them: the own
// origin and the configured ones. "null" is never among them.
type origins struct {
	named map[string]struct{}
	// development also allows every origin for which [origin.IsLoopback] is true.
	development bool
}

// newOrigins takes the issuer's origin and the configured ones. Each of these must be same-site
// with the issuer, except in development, where a proxy may serve the broker on the SPA's site.
func newOrigins(issuer string, configured []string, development bool) (*origins, error) {
	own, err := url.Parse(issuer)
	if err != nil {
		return nil, fmt.Errorf("reading the issuer: %w", err)
	}
	allowed := &origins{named: map[string]struct{}{origin.Of(own): {}}, development: development}
	for _, o := range configured {
		u, err := origin.Parse(o)
		if err != nil {
			return nil, err
		}
		if !development && !origin.SameSite(own, u) {
			return nil, fmt.Errorf("origin %q is not same-site with the issuer %q: browsers would not send it the session cookie; serve both below one domain and scheme (localhost and 127.0.0.1 are two sites)", o, issuer)
		}
		allowed.named[origin.Of(u)] = struct{}{}
	}
	return allowed, nil
}

func (o *origins) has(sent string) bool {
	_, ok := o.named[sent]
	return ok || o.development && origin.IsLoopback(sent)
}

// atHost returns the allowed origin that the Host header names, and "" if there is none.
func (o *origins) atHost(host string) string {
	for _, scheme := range []string{"http://", "https://"} {
		if sent := scheme + strings.ToLower(host); o.has(sent) {
			return sent
		}
	}
	return ""
}

// check refuses a request that another site's page made. Without an Origin the browser's
// Sec-Fetch-Site decides; without both it is no browser (curl), and the cookie's SameSite
// and the CSRF token hold.
func (o *origins) check(r *http.Request) error {
	if sent := r.Header.Values("Origin"); len(sent) > 0 {
		if len(sent) > 1 || !o.has(sent[0]) {
			return forbidden(sent)
		}
		return nil
	}
	for _, s := range r.Header.Values("Sec-Fetch-Site") {
		if s != "same-origin" && s != "none" {
			return &broker.Error{Code: CodeForbiddenOrigin, Message: "the request comes from another site and names no Origin"}
		}
	}
	return nil
}

// maxOriginShown is how much of an Origin the log has, in bytes.
const maxOriginShown = 128

// forbidden refuses what a request sent as its Origin. The answer does not repeat it, the log
// names it.
func forbidden(sent []string) error {
	cause := fmt.Errorf("%d Origin headers", len(sent))
	if len(sent) == 1 {
		shown := sent[0]
		if len(shown) > maxOriginShown {
			shown = shown[:maxOriginShown] + "..."
		}
		cause = fmt.Errorf("origin %+q is not allowed: if a page of yours is there, add it to origins (in dev: --origin)", shown)
	}
	return &broker.Error{Code: CodeForbiddenOrigin, Message: "the Origin is neither the broker's own nor a configured one", Err: cause}
}
