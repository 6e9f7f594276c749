package httpapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Proxies are the networks of the trusted proxies.
type Proxies []netip.Prefix

// ParseProxies reads addresses and CIDRs. It refuses networks that are wider than an organization's
// own.
func ParseProxies(configured []string) (Proxies, error) {
	trusted := make(Proxies, 0, len(configured))
	for _, text := range configured {
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("%q is neither an address nor a CIDR: write it as 10.0.0.5 or 10.0.0.0/8", text)
		case prefix.Addr().Is4In6():
			return nil, fmt.Errorf("%s is IPv4 in IPv6: peers are known by their IPv4 address, so write that", text)
		case prefix.Addr().Is4() && prefix.Bits() < 8, prefix.Addr().Is6() && prefix.Bits() < 16:
			return nil, fmt.Errorf("%s is too wide: a client in it could claim any address; name the proxies' own network, /8 at the widest, /16 with IPv6", text)
		}
		trusted = append(trusted, prefix)
	}
	return trusted, nil
}

// Contain reports whether addr is that of a trusted proxy.
func (p Proxies) Contain(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// sender describes the sender of a request.
type sender struct {
	// peer is the other end of the connection, and trusted whether it is a trusted proxy. The zero
	// address is that of a unix socket.
	peer    netip.Addr
	trusted bool
	// addr is the client's address: the peer's, or the one that trusted proxies report.
	addr netip.Addr
	// unread is the entry of X-Forwarded-For that should have named the client and cannot be read.
	unread string
	failed bool
}

// sender finds the client of r. It walks X-Forwarded-For from the right, where the nearest proxy
// writes, past the trusted proxies. It ignores the header of any other
// peer, and everything to the left of the first address that is not a trusted proxy's: a client can
// write anything there. An entry that cannot be read ends the walk, and the client's address is
// then that of the proxy that wrote the entry.
func (p Proxies) sender(r *http.Request) sender {
	var s sender
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		s.peer = peer.Addr().Unmap().WithZone("")
	}
	s.trusted, s.addr = p.Contain(s.peer), s.peer
	if !s.trusted {
		return s
	}
	for _, line := range slices.Backward(r.Header["X-Forwarded-For"]) {
		if strings.Trim(line, " \t") == "" { // RFC 9110 §5.6.1: a list without elements
			continue
		}
		for more := true; more; {
			var entry string
			if i := strings.LastIndexByte(line, ','); i >= 0 {
				line, entry = line[:i], line[i+1:]
			} else {
				entry, more = line, false
			}
			entry = strings.Trim(entry, " \t")
			addr, ok := forwardedAddr(entry)
			if !ok {
				s.unread, s.failed = entry, true
				return s
			}
			if s.addr = addr; !p.Contain(addr) {
				return s
			}
		}
	}
	return s
}

// forwardedAddr reads an entry of X-Forwarded-For: an address, IPv6 also in brackets, with or
// without a port. An address with a zone is valid only on the machine that wrote it.
func forwardedAddr(entry string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(entry)
	if err != nil {
		var with netip.AddrPort
		with, err = netip.ParseAddrPort(entry)
		addr = with.Addr()
	}
	if inner, ok := strings.CutPrefix(entry, "["); err != nil && ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			addr, err = netip.ParseAddr(inner)
			ok = err == nil && addr.Is6()
		}
		if !ok {
			return netip.Addr{}, false
		}
	}
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// reportedProxies is the number of proxies that are remembered as reported. The one reported
// longest ago is forgotten first.
const reportedProxies = 256

// unreadableShown is how much of an entry that cannot be read is logged, in bytes.
const unreadableShown = 64

// ClientResolver finds the clients behind trusted proxies, and reports proxies that do not name
// them. It is safe for concurrent use. A nil ClientResolver trusts no proxy.
type ClientResolver struct {
	proxies  Proxies
	logger   *slog.Logger
	reported *lru.Cache[netip.Addr, struct{}] // by the proxy's address
	count    atomic.Uint64                    // requests whose entry could not be read
}

// NewClientResolver returns a resolver that trusts proxies.
func NewClientResolver(proxies Proxies, logger *slog.Logger) *ClientResolver {
	reported, err := lru.New[netip.Addr, struct{}](reportedProxies)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &ClientResolver{proxies: proxies, logger: logger, reported: reported}
}

// sender is [Proxies.sender]. For each proxy, it logs the first entry that cannot be read.
func (f *ClientResolver) sender(r *http.Request) sender {
	if f == nil {
		return Proxies(nil).sender(r)
	}
	s := f.proxies.sender(r)
	if s.failed {
		f.count.Add(1)
		if known, _ := f.reported.ContainsOrAdd(s.addr, struct{}{}); !known {
			f.logger.Warn("a trusted proxy sends an X-Forwarded-For entry that is not an address: its users share the proxy's address and the limits of that address",
				"proxy", s.addr.String(), "entry", cut(s.unread, unreadableShown))
		}
	}
	return s
}

// Unreadable returns the number of requests of trusted proxies whose client is unknown because
// an entry of X-Forwarded-For cannot be read.
func (f *ClientResolver) Unreadable() uint64 { return f.count.Load() }
