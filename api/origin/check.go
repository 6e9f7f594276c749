package origin

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Check refuses a URL whose host or port no browser writes into an Origin header, or that is not
// a site, because it would never match. Only the host's case, the default port and the path are
// left to the caller. The error explains how to write it, and does not repeat a user in the URL.
func Check(u *url.URL) error {
	if err := checkPort(u); err != nil {
		return err
	}
	host := strings.ToLower(u.Hostname())
	if strings.HasPrefix(u.Host, "[") || lastLabelIsNumber(host) {
		return checkAddress(host)
	}
	return checkName(host)
}

func checkPort(u *url.URL) error {
	port := u.Port()
	if port == "" {
		if strings.HasSuffix(u.Host, ":") {
			return errors.New("has a colon and no port: remove the colon")
		}
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n == 0:
		return errors.New("has a port that is not 1 to 65535")
	case strconv.FormatUint(n, 10) != port:
		return errors.New("has a port that browsers write as " + strconv.FormatUint(n, 10))
	}
	return nil
}

// lastLabelIsNumber reports whether browsers read a host as an IPv4 address (WHATWG URL §3.5).
func lastLabelIsNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	_, err := strconv.ParseUint(last, 0, 64)
	return last != "" && (err == nil || strings.Trim(last, "0123456789") == "" || last == "0x")
}

func checkAddress(host string) error {
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return errors.New("has a host that is neither a name nor an address as browsers write it, such as 127.0.0.1")
	case ip.Zone() != "":
		return errors.New("has an address with a zone, from which browsers accept no cookies")
	case ip.Is4In6():
		return errors.New("has an IPv4 address in IPv6: write " + ip.Unmap().String())
	case ip.String() != host:
		return errors.New("has an address that browsers write as " + ip.String())
	}
	return nil
}

var hostLabel = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

func checkName(host string) error {
	if strings.ContainsFunc(host, func(r rune) bool { return r > '~' }) {
		if ascii, err := idna.Lookup.ToASCII(host); err == nil {
			return errors.New("has a host that is not ASCII: write it in punycode, as " + ascii)
		}
		return errors.New("has a host that is not ASCII: write it in punycode, with the prefix xn--")
	}
	if strings.HasSuffix(host, ".") {
		return errors.New("has a host that ends in a dot: remove the dot")
	}
	for label := range strings.SplitSeq(host, ".") {
		if !hostLabel.MatchString(label) {
			return errors.New("has a host that is not a name: labels of letters, digits and -, with a dot between them")
		}
	}
	if len(host) > 253 {
		return errors.New("has a host longer than 253 characters")
	}
	if suffix, _ := publicsuffix.PublicSuffix(host); suffix == host && strings.Contains(host, ".") {
		return errors.New("has a public suffix as its host, which is not a site: use a name below " + host)
	}
	return nil
}
