package upstream

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// addressClass is the distance of an address from this machine. The endpoints of a provider must
// not be nearer than its issuer: a document from the internet must not send the broker into its own
// network.
type addressClass int32

const (
	publicAddress   addressClass = iota
	privateAddress               // in a private network: RFC 1918, RFC 4193, and shared or locally translated addresses
	loopbackAddress              // on this machine
	reservedAddress              // link-local (such as a cloud's metadata service), unspecified, multicast, and not assigned to hosts
)

func (c addressClass) String() string {
	return [...]string{"public", "private", "loopback", "link-local or reserved"}[c]
}

// addressBlocks are the blocks of the IANA special-purpose registries (RFC 6890) that are not public.
// IPv6 addresses outside of 2000::/3 are reserved unless they are listed.
var addressBlocks = []struct {
	block netip.Prefix
	class addressClass
}{
	{netip.MustParsePrefix("0.0.0.0/8"), reservedAddress},
	{netip.MustParsePrefix("10.0.0.0/8"), privateAddress},
	{netip.MustParsePrefix("100.64.0.0/10"), privateAddress}, // RFC 6598, carrier-grade NAT
	{netip.MustParsePrefix("127.0.0.0/8"), loopbackAddress},
	{netip.MustParsePrefix("169.254.0.0/16"), reservedAddress},
	{netip.MustParsePrefix("172.16.0.0/12"), privateAddress},
	{netip.MustParsePrefix("192.0.0.0/24"), reservedAddress},
	{netip.MustParsePrefix("192.0.2.0/24"), reservedAddress},
	{netip.MustParsePrefix("192.88.99.0/24"), reservedAddress},
	{netip.MustParsePrefix("192.168.0.0/16"), privateAddress},
	{netip.MustParsePrefix("198.18.0.0/15"), privateAddress}, // RFC 2544
	{netip.MustParsePrefix("198.51.100.0/24"), reservedAddress},
	{netip.MustParsePrefix("203.0.113.0/24"), reservedAddress},
	{netip.MustParsePrefix("224.0.0.0/3"), reservedAddress},
	{netip.MustParsePrefix("::1/128"), loopbackAddress},
	{netip.MustParsePrefix("64:ff9b:1::/48"), privateAddress}, // RFC 8215, local NAT64
	{netip.MustParsePrefix("fc00::/7"), privateAddress},
	{netip.MustParsePrefix("fec0::/10"), privateAddress}, // RFC 3879, site-local
	{netip.MustParsePrefix("2001::/23"), reservedAddress},
	{netip.MustParsePrefix("2001:db8::/32"), reservedAddress},
	{netip.MustParsePrefix("3fff::/20"), reservedAddress},
	{netip.MustParsePrefix("2000::/3"), publicAddress},
	{netip.MustParsePrefix("::/0"), reservedAddress},
}

// embeddingBlocks are the blocks whose addresses contain an IPv4 address, starting at that byte.
// Packets go to the IPv4 address, so its class applies.
var embeddingBlocks = []struct {
	block netip.Prefix
	at    int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // RFC 6052, NAT64
	{netip.MustParsePrefix("2002::/16"), 2},     // RFC 3056, 6to4
}

// classOf returns the class of an address. An IPv4-mapped address has the class of the IPv4
// address.
func classOf(addr netip.Addr) addressClass {
	addr = addr.Unmap().WithZone("")
	for _, c := range embeddingBlocks {
		if c.block.Contains(addr) {
			bytes := addr.As16()
			return classOf(netip.AddrFrom4([4]byte(bytes[c.at : c.at+4])))
		}
	}
	for _, b := range addressBlocks {
		if b.block.Contains(addr) {
			return b.class
		}
	}
	if addr.Is4() {
		return publicAddress
	}
	return reservedAddress // invalid
}

// classOfHost returns the class of a literal address or of localhost (RFC 6761 §6.3) in a URL's
// host. An unusual form of an IPv4 address counts as reserved. Other names count as public: the addresses to which they resolve are checked when the
// connection is made.
func classOfHost(host string) addressClass {
	if addr, err := netip.ParseAddr(host); err == nil {
		return classOf(addr)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return loopbackAddress
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; number.MatchString(last) {
		return reservedAddress
	}
	return publicAddress
}

// number matches the last part of a host that resolvers and proxies may take for an IPv4 address, such as 127.1 or 0x7f000001: no
// top-level domain is a number.
var number = regexp.MustCompile(`^([0-9]+|0[xX][0-9a-fA-F]*)$`)

// secureURL accepts https, and http for a loopback host. Its errors do not contain the text, which
// may contain a password.
func secureURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("want an absolute URL")
	case u.User != nil || strings.ContainsRune(text, '#'):
		return nil, errors.New("want a URL without user and fragment")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	default:
		return nil, errors.New("want https, or http to a loopback host")
	}
}

// loopback reports whether plain http is accepted for the host. It is stricter than [classOfHost],
// which must also recognize unusual spellings of this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
