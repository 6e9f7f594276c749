package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
)

// Proxies are the networks of the trusted proxies.
type Proxies []netip.Prefix

// ParseProxies reads addresses and CIDRs.
func ParseProxies(configured []string) (Proxies, error) {
	trusted := make(Proxies, 0, len(configured))
	for _, text := range configured {
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a CIDR: write it as 10.0.0.5 or 10.0.0.0/8", text)
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

// sent reports whether r comes over a connection from one of the proxies.
func (p Proxies) sent(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && p.Contain(peer.Addr())
}
