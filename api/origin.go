package api

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"tokenbroker/broker"
)

// origins are the allowed values of the Origin header, as browsers write them: the own
// origin and the configured ones. "null" is never among them.
type origins map[string]struct{}

// newOrigins takes the issuer's origin and the configured ones, each of which must be
// same-site with the issuer.
func newOrigins(issuer string, configured []string) (origins, error) {
	own, err := url.Parse(issuer)
	if err != nil {
		return nil, fmt.Errorf("reading the issuer: %w", err)
	}
	set := origins{serialise(own): {}}
	for _, o := range configured {
		u, err := url.Parse(o)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
			(u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("origin %q: want scheme://host or scheme://host:port", o)
		}
		if !sameSite(own, u) {
			return nil, fmt.Errorf("origin %q is not same-site with the issuer %q: browsers would not send it the session cookie; serve both below one domain and scheme (localhost and 127.0.0.1 are two sites)", o, issuer)
		}
		set[serialise(u)] = struct{}{}
	}
	return set, nil
}

// serialise writes u's origin as a browser does: lower case, without the default port
// (RFC 6454 §6.2).
func serialise(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host
}

// sameSite compares scheme and registrable domain; ports do not count, and addresses and
// single labels are sites of their own.
func sameSite(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && site(a) == site(b)
}

func site(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if net.ParseIP(host) != nil {
		return host
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}

func (o origins) has(origin string) bool {
	_, ok := o[origin]
	return ok
}

// check refuses a request that another site's page made. Without an Origin the browser's
// Sec-Fetch-Site decides; without both it is no browser (curl), and the cookie's SameSite
// and the CSRF token hold.
func (o origins) check(r *http.Request) error {
	refuse := func(detail string) error {
		return &broker.Error{Code: CodeForbiddenOrigin, Message: detail}
	}
	if sent := r.Header.Values("Origin"); len(sent) > 0 {
		if len(sent) > 1 || !o.has(sent[0]) {
			return refuse("the Origin is neither the broker's own nor a configured one")
		}
		return nil
	}
	for _, s := range r.Header.Values("Sec-Fetch-Site") {
		if s != "same-origin" && s != "none" {
			return refuse("the request comes from another site and names no Origin")
		}
	}
	return nil
}
