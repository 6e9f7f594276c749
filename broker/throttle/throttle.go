package throttle

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Throttle remembers failures. It is safe for concurrent use and starts no goroutine. Its
// memory is bounded by Config.Size and the number of tries under way.
type Throttle struct {
	cfg Config

	mu sync.Mutex // guards what is below
	// Only failures make entries, so that good sign-ins push nobody out.
	accounts  *simplelru.LRU[accountKey, *account]
	addresses *simplelru.LRU[netip.Prefix, *rate.Limiter]
	// Tries under way count as failures until it is known what became of them.
	trying     map[accountKey]tries
	tryingFrom map[netip.Prefix]int
}

type accountKey [sha256.Size]byte

type account struct {
	failures int
	last     time.Time // of the failures
}

type tries struct {
	n    int
	last time.Time // when the latest began
}

// New makes a Throttle that remembers nothing yet. It panics when a number in cfg is negative.
func New(cfg Config) *Throttle {
	cfg.validate()
	accounts, err := simplelru.NewLRU[accountKey, *account](cfg.Size, nil)
	if err != nil {
		panic("throttle: " + err.Error())
	}
	addresses, err := simplelru.NewLRU[netip.Prefix, *rate.Limiter](cfg.Size, nil)
	if err != nil {
		panic("throttle: " + err.Error())
	}
	return &Throttle{
		cfg: cfg, accounts: accounts, addresses: addresses,
		trying: make(map[accountKey]tries), tryingFrom: make(map[netip.Prefix]int),
	}
}

// Allow tells whether a password may be tried for name from addr now, and if not, when to
// ask again. addr is an IP address without port; addresses that cannot be parsed share one
// bucket. A try that is allowed is charged as a failure until [Throttle.Failed],
// [Throttle.Succeeded] or [Throttle.Refund] is called for it: one of them has to be, once.
func (t *Throttle) Allow(name, addr string) (retryAfter time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	key, from := hash(name), group(addr)
	retryAfter = t.accountWait(key, now)
	free := float64(t.cfg.Address.Burst)
	if bucket, known := t.addresses.Get(from); known {
		free = bucket.TokensAt(now)
	}
	if missing := 1 + float64(t.tryingFrom[from]) - free; missing > 0 {
		retryAfter = max(retryAfter, time.Duration(missing*float64(t.cfg.Address.Refill)))
	}
	if retryAfter > 0 {
		return retryAfter, false
	}
	t.trying[key] = tries{n: t.trying[key].n + 1, last: now}
	t.tryingFrom[from]++
	return 0, true
}

// accountWait is how long the account waits for its next try.
func (t *Throttle) accountWait(key accountKey, now time.Time) time.Duration {
	var wait time.Duration
	failures := 0
	if acc, known := t.account(key, now); known {
		failures = acc.failures
		wait = acc.last.Add(t.cfg.Account.pause(failures)).Sub(now)
	}
	if under := t.trying[key]; under.n > 0 {
		wait = max(wait, under.last.Add(t.cfg.Account.pause(failures+under.n)).Sub(now))
	}
	return wait
}

// Failed says that the password was wrong: it counts against the account and the address.
func (t *Throttle) Failed(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended(name, addr)
	now := t.cfg.Now()
	acc, known := t.account(hash(name), now)
	if !known {
		acc = new(account)
		t.accounts.Add(hash(name), acc)
	}
	acc.failures++
	acc.last = now

	bucket, known := t.addresses.Get(group(addr))
	if !known {
		bucket = rate.NewLimiter(rate.Every(t.cfg.Address.Refill), t.cfg.Address.Burst)
		t.addresses.Add(group(addr), bucket)
	}
	bucket.AllowN(now, 1)
}

// Succeeded forgets the account's failures. Those of the address stay: otherwise one good
// account would buy free guesses at all others.
func (t *Throttle) Succeeded(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended(name, addr)
	t.accounts.Remove(hash(name))
}

// Refund says that the password was not checked: the try counts for nothing.
func (t *Throttle) Refund(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended(name, addr)
}

// ended takes back what Allow charged.
func (t *Throttle) ended(name, addr string) {
	key, from := hash(name), group(addr)
	if under := t.trying[key]; under.n > 1 {
		t.trying[key] = tries{n: under.n - 1, last: under.last}
	} else {
		delete(t.trying, key)
	}
	if t.tryingFrom[from] > 1 {
		t.tryingFrom[from]--
	} else {
		delete(t.tryingFrom, from)
	}
}

// account gives what is known of an account; old failures are forgotten.
func (t *Throttle) account(key accountKey, now time.Time) (*account, bool) {
	acc, known := t.accounts.Get(key)
	if known && now.Sub(acc.last) >= t.cfg.Account.Forget {
		t.accounts.Remove(key)
		return nil, false
	}
	return acc, known
}

func hash(name string) accountKey { return sha256.Sum256([]byte(name)) }

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
