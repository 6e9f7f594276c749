// Package origin reads web origins as browsers write them (RFC 6454) and compares their sites.
package origin

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Parse reads scheme://host or scheme://host:port, with the scheme http or https, optionally
// followed by a slash, and applies [Check]. "*" and "null" are not origins.
func Parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || strings.Contains(u.Host, "*") ||
		(u.Path != "" && u.Path != "/") || strings.ContainsAny(text, "?#") || u.User != nil {
		return nil, fmt.Errorf("origin %q: want scheme://host or scheme://host:port", text)
	}
	if err := Check(u); err != nil {
		return nil, fmt.Errorf("origin %q %w", text, err)
	}
	return u, nil
}

// Of writes u's origin as a browser does: lower case, without the default port
// (RFC 6454 §6.2).
func Of(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host
}

// LoopbackHost reports whether host is localhost or a loopback address, without port and brackets.
// Letters of localhost may be capitals.
func LoopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// IsLoopback reports whether text is an origin, as browsers write it, of pages that this machine
// serves over plain http: at localhost, 127.0.0.1 or [::1], at any port.
func IsLoopback(text string) bool {
	u, err := Parse(text)
	return err == nil && u.Scheme == "http" && Of(u) == text && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())
}

// SameSite reports whether a and b have the same scheme and registrable domain, as for SameSite
// cookies. Ports do not count; an address or a single label is its own site.
func SameSite(a, b *url.URL) bool {
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
