package api

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// reportedProxies is how many proxies are remembered as reported; beyond it the one reported longest ago is forgotten.
const reportedProxies = 256

// unreadableShown is how much of an entry that cannot be read is logged, in bytes.
const unreadableShown = 64

// forwarded finds the clients behind the trusted proxies, and reports proxies that do not name
// them. Safe for concurrent use.
type forwarded struct {
	proxies  Proxies
	logger   *slog.Logger
	reported *lru.Cache[netip.Addr, struct{}] // by the proxy's address
	count    atomic.Uint64                    // requests whose entry could not be read
}

func newForwarded(proxies Proxies, logger *slog.Logger) *forwarded {
	reported, err := lru.New[netip.Addr, struct{}](reportedProxies)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &forwarded{proxies: proxies, logger: logger, reported: reported}
}

// sender is [Proxies.sender]. The first entry that cannot be read is logged for each proxy.
func (f *forwarded) sender(r *http.Request) sender {
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

// UnreadableForwarded counts the requests of trusted proxies since the start whose client is
// unknown because an entry of X-Forwarded-For cannot be read.
func (p *Public) UnreadableForwarded() uint64 { return p.server.forwarded.count.Load() }
