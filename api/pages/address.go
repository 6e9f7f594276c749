package pages

import (
	"net/url"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"tokenbroker/api/origin"
)

// address is where a URI leads, as the pages show it: in full, and in ASCII, so that no letter looks like another one. Site is
// the part that names its owner: the registrable domain, the address, or the scheme of an app.
type address struct{ Before, Site, After string }

// addressOf returns the address of a URI: the host and the port, after the scheme unless it is https, or only the scheme of an app,
// whose host means nothing.
func addressOf(uri string) address {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return address{Site: url.PathEscape(uri)}
	case !isWeb(u):
		return address{Site: u.Scheme + ":"}
	}
	var a address
	if u.Scheme == "http" {
		a.Before = "http://"
	}
	host := asciiHost(u)
	a.Site, a.After = host, portOf(u)
	if site, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil && strings.HasSuffix(host, "."+site) && !strings.HasPrefix(host, "[") {
		a.Before, a.Site = a.Before+strings.TrimSuffix(host, site), site
	}
	return a
}

// String returns the address as one text.
func (a address) String() string { return a.Before + a.Site + a.After }

// isWeb reports whether browsers open a URL themselves, by HTTP.
func isWeb(u *url.URL) bool { return u.Scheme == "https" || u.Scheme == "http" }

// isLoopback reports whether a URI leads to a program on the user's own computer, by HTTP.
func isLoopback(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && isWeb(u) && origin.LoopbackHost(u.Hostname())
}

// portOf returns a colon and the port of a URL, or "" without one.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return ":" + port
	}
	return ""
}

// asciiHost returns the host of a URL in lower case and in ASCII, without the port.
func asciiHost(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r > '~' }) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil { // browsers do not open it
			return url.PathEscape(host)
		}
		return ascii
	}
	return host
}
