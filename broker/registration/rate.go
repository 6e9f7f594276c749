package registration

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"tokenbroker/broker"
)

const (
	// maxAddresses bounds the addresses whose registrations are counted. Beyond it, the one that registered least recently is forgotten.
	maxAddresses = 1 << 14
	// auditBurst refusals are audited at once, and then one for each auditEvery: a flood from many addresses must not fill the log.
	auditBurst = 60
	auditEvery = time.Second
)

// addresses limits how often clients register from an address. It is safe for concurrent use.
type addresses struct {
	perMinute int
	mu        sync.Mutex // guards known
	known     *simplelru.LRU[netip.Prefix, *address]
}

type address struct {
	rate    *rate.Limiter
	refused bool // since the latest registration that was allowed
}

func newAddresses(perMinute int) *addresses {
	known, err := simplelru.NewLRU[netip.Prefix, *address](maxAddresses, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &addresses{perMinute: perMinute, known: known}
}

// take takes one registration of the address. If it has none left, wait is the time until the next one, at least a second, and first is
// true for the first refusal since one was left.
func (a *addresses) take(addr string, now time.Time) (wait time.Duration, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := block(addr)
	of, ok := a.known.Get(key)
	if !ok {
		of = &address{rate: rate.NewLimiter(rate.Limit(a.perMinute)/60, a.perMinute)}
		a.known.Add(key, of)
	}
	if of.rate.AllowN(now, 1) {
		of.refused = false
		return 0, false
	}
	first, of.refused = !of.refused, true
	missing := (1 - of.rate.TokensAt(now)) / float64(of.rate.Limit()) // in seconds
	return max(time.Second, time.Duration(missing*float64(time.Second))), first
}

// block returns what counts as one address: an IPv4 address, or a /64 of IPv6. Texts that are not addresses count as one.
func block(addr string) netip.Prefix {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, _ := ip.Prefix(bits) // of a valid address
	return prefix
}

// refusals audits refusals, but only some of a flood. It is safe for concurrent use.
type refusals struct {
	audit broker.Audit
	clock broker.Clock

	mu      sync.Mutex // guards the fields below
	rate    *rate.Limiter
	skipped int
}

func newRefusals(audit broker.Audit, clock broker.Clock) *refusals {
	return &refusals{audit: audit, clock: clock, rate: rate.NewLimiter(rate.Every(auditEvery), auditBurst)}
}

// write audits a refusal, with the number of those before it that were not audited. clientID may be empty.
func (r *refusals) write(ctx context.Context, err *broker.Error, operation, clientID string, req broker.Request) {
	r.mu.Lock()
	allowed, skipped := r.rate.AllowN(r.clock.Now(), 1), r.skipped
	r.skipped++
	if allowed {
		r.skipped = 0
	}
	r.mu.Unlock()
	if !allowed {
		return
	}
	attrs := []any{"operation", operation, "refusal", string(err.Code), "reason", err.Message}
	if clientID != "" {
		attrs = append(attrs, "client_id", clientID)
	}
	if skipped > 0 {
		attrs = append(attrs, "skipped", skipped)
	}
	r.audit.Info(ctx, "client_register_refused", req, attrs...)
}
