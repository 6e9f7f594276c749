package api

import (
	"fmt"
	"net/http"
	"net/netip"
)

// proxies are the networks of the trusted proxies.
type proxies []netip.Prefix

// newProxies reads addresses and CIDRs.
func newProxies(configured []string) (proxies, error) {
	trusted := make(proxies, 0, len(configured))
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

// sent reports whether r comes over a connection from one of the proxies.
func (p proxies) sent(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr := peer.Addr().Unmap().WithZone("")
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
