package throttle

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Throttle remembers failures. It is safe for concurrent use, its memory is bounded by
// Config.Size, and it starts no goroutine.
type Throttle struct {
	cfg Config

	mu sync.Mutex // guards what is below
	// Only failures make entries, so that good sign-ins push nobody out.
	accounts  *simplelru.LRU[[sha256.Size]byte, *account]
	addresses *simplelru.LRU[netip.Prefix, *rate.Limiter]
}

type account struct {
	failures int
	last     time.Time // of the failures
	next     time.Time // no attempt before it
}

// New makes a Throttle that remembers nothing yet. It panics when a number in cfg is negative.
func New(cfg Config) *Throttle {
	cfg.validate()
	accounts, err := simplelru.NewLRU[[sha256.Size]byte, *account](cfg.Size, nil)
	if err != nil {
		panic("throttle: " + err.Error())
	}
	addresses, err := simplelru.NewLRU[netip.Prefix, *rate.Limiter](cfg.Size, nil)
	if err != nil {
		panic("throttle: " + err.Error())
	}
	return &Throttle{cfg: cfg, accounts: accounts, addresses: addresses}
}

// Allow tells whether a password may be tried for name from addr now, and if not, when to
// try again. addr is an IP address without port; addresses that cannot be parsed share one
// bucket. An attempt that is allowed to an account beyond its free failures takes that
// account's turn, so the next waits for the whole pause, unless [Throttle.Succeeded] is called.
func (t *Throttle) Allow(name, addr string) (retryAfter time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	acc, known := t.account(name, now)
	if known {
		retryAfter = acc.next.Sub(now)
	}
	if bucket, known := t.addresses.Get(group(addr)); known {
		if missing := 1 - bucket.TokensAt(now); missing > 0 {
			retryAfter = max(retryAfter, time.Duration(missing*float64(t.cfg.Address.Refill)))
		}
	}
	if retryAfter > 0 {
		return retryAfter, false
	}
	if known {
		acc.next = now.Add(t.cfg.Account.pause(acc.failures))
	}
	return 0, true
}

// Failed counts a wrong password against the account and the address.
func (t *Throttle) Failed(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	acc, known := t.account(name, now)
	if !known {
		acc = new(account)
		t.accounts.Add(hash(name), acc)
	}
	acc.failures++
	acc.last = now
	acc.next = now.Add(t.cfg.Account.pause(acc.failures))

	bucket, known := t.addresses.Get(group(addr))
	if !known {
		bucket = rate.NewLimiter(rate.Every(t.cfg.Address.Refill), t.cfg.Address.Burst)
		t.addresses.Add(group(addr), bucket)
	}
	bucket.AllowN(now, 1)
}

// Succeeded forgets the account's failures. Those of the address stay: otherwise one good
// account would buy free guesses at all others. addr is taken for symmetry.
func (t *Throttle) Succeeded(name, _ string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accounts.Remove(hash(name))
}

// account gives what is known of an account; old failures are forgotten.
func (t *Throttle) account(name string, now time.Time) (*account, bool) {
	acc, known := t.accounts.Get(hash(name))
	if known && now.Sub(acc.last) >= t.cfg.Account.Forget {
		t.accounts.Remove(hash(name))
		return nil, false
	}
	return acc, known
}

func hash(name string) [sha256.Size]byte { return sha256.Sum256([]byte(name)) }

// group is what shares a bucket: an IPv4 address, a /64 of IPv6 (what one customer gets),
// or everything that is not an address.
func group(addr string) netip.Prefix {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
