package upstream

import (
	"net/http"
	"net/url"
)

// newClaimedTransport returns a transport for the URLs that strangers name. Its requests are limited (see [hostLimits]), use only
// HTTP/1.1, and use a connection only once. Its client for endpoints reads at most limit bytes of an answer.
func newClaimedTransport(cfg *Config, loopback bool, limit int) *transport {
	t := newTransport(cfg, "")
	t.claimed, t.loopback = true, loopback
	for _, h := range []*http.Transport{t.open, t.guarded} {
		h.Protocols = new(http.Protocols)
		h.Protocols.SetHTTP1(true)
		h.DisableKeepAlives, h.DisableCompression = true, true
		h.MaxResponseHeaderBytes, h.TLSHandshakeTimeout = 16<<10, cfg.Timeout
	}
	t.limits = newHostLimits(t.sender, cfg.Now)
	t.sender = t.limits
	t.endpoints = boundedClient(t.sender, cfg.Timeout, limit)
	return t
}

// checkClaimed returns a URL that a stranger named, and an error if it must not be fetched. The addresses to which its host resolves
// are checked when a connection is made.
func (t *transport) checkClaimed(text string) (*url.URL, error) {
	u, err := secureURL(text)
	if err != nil {
		return nil, err
	}
	return u, t.check(u.Hostname(), u.Hostname(), classOfHost(u.Hostname()))
}
