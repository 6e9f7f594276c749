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
	accounts  *simplelru.LRU[accountKey, *failures]
	addresses *simplelru.LRU[netip.Prefix, *rate.Limiter]
	// Only successes make entries, so that failures push nobody out.
	known *simplelru.LRU[accountKey, *places]
	// Tries under way count as failures until it is known what became of them.
	trying     map[payer]tries
	tryingFrom map[netip.Prefix]int
}

type accountKey [sha256.Size]byte

// payer is whose failures a try is judged by: an account's, or those of a known place of it.
type payer struct {
	account accountKey
	place   netip.Prefix // of a known place, else the zero value
	known   bool
}

// failures are those of an account, or of a known place.
type failures struct {
	n    int
	last time.Time
}

type tries struct {
	n    int
	last time.Time // when the latest began
}

// New makes a Throttle that remembers nothing yet. It panics when a number in cfg is negative.
func New(cfg Config) *Throttle {
	cfg.validate()
	return &Throttle{
		cfg:      cfg,
		accounts: newLRU[accountKey, *failures](cfg.Size), addresses: newLRU[netip.Prefix, *rate.Limiter](cfg.Size),
		known:  newLRU[accountKey, *places](cfg.Size),
		trying: make(map[payer]tries), tryingFrom: make(map[netip.Prefix]int),
	}
}

func newLRU[K comparable, V any](size int) *simplelru.LRU[K, V] {
	lru, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil {
		panic("throttle: " + err.Error())
	}
	return lru
}

// Allow tells whether a password may be tried for name from addr now, and if not, when to
// ask again. addr is an IP address without port; addresses that cannot be parsed share one
// bucket. An empty name is no account: the address alone decides, and pays. A try that is
// allowed is charged as a failure until [Throttle.Failed], [Throttle.Succeeded] or
// [Throttle.Refund] is called for it, with the same name and addr: one of them has to be, once.
func (t *Throttle) Allow(name, addr string) (retryAfter time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), group(addr)
	var by payer
	if name != "" {
		by = t.payer(hash(name), from, now)
		retryAfter = t.wait(by, now)
	}
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
	if name != "" {
		t.trying[by] = tries{n: t.trying[by].n + 1, last: now}
	}
	t.tryingFrom[from]++
	return 0, true
}

// payer is the account's known place, if from is one, else the account.
func (t *Throttle) payer(key accountKey, from netip.Prefix, now time.Time) payer {
	if t.place(key, from, now) != nil {
		return payer{account: key, place: from, known: true}
	}
	return payer{account: key}
}

// wait is how long the next try that by pays for has to wait.
func (t *Throttle) wait(by payer, now time.Time) time.Duration {
	var wait time.Duration
	n := 0
	if f := t.failures(by, now); f != nil {
		n = f.n
		wait = f.last.Add(t.cfg.Account.pause(n)).Sub(now)
	}
	if under := t.trying[by]; under.n > 0 {
		wait = max(wait, under.last.Add(t.cfg.Account.pause(n+under.n)).Sub(now))
	}
	return wait
}

// Failed says that the password was wrong: it counts against the account, or the place where
// the account is known, and the address.
func (t *Throttle) Failed(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), group(addr)
	by := t.ended(name, from, now)
	if name != "" {
		f := t.failures(by, now)
		if f == nil {
			by.known, by.place = false, netip.Prefix{} // that place is known no longer
			if f = t.failures(by, now); f == nil {
				f = new(failures)
				t.accounts.Add(by.account, f)
			}
		}
		f.n++
		f.last = now
	}
	bucket, known := t.addresses.Get(from)
	if !known {
		bucket = rate.NewLimiter(rate.Every(t.cfg.Address.Refill), t.cfg.Address.Burst)
		t.addresses.Add(from, bucket)
	}
	bucket.AllowN(now, 1)
}

// Succeeded forgets the failures that the try was judged by, the account's or its known
// place's, and makes addr a place where the account is known. Failures of the address stay:
// otherwise one good account would buy free guesses at all others.
func (t *Throttle) Succeeded(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), group(addr)
	by := t.ended(name, from, now)
	if name == "" {
		return
	}
	if !by.known {
		t.accounts.Remove(by.account)
	}
	t.know(by.account, from, now)
}

// Refund says that the password was not checked: the try counts for nothing.
func (t *Throttle) Refund(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended(name, group(addr), t.cfg.Now())
}

// ended takes back what Allow charged, and tells whom. While a try is under way its address
// can become a known place, or cease to be one: as many are taken back as were charged.
func (t *Throttle) ended(name string, from netip.Prefix, now time.Time) payer {
	if t.tryingFrom[from] > 1 {
		t.tryingFrom[from]--
	} else {
		delete(t.tryingFrom, from)
	}
	if name == "" {
		return payer{}
	}
	key := hash(name)
	by, other := payer{account: key, place: from, known: true}, payer{account: key}
	if t.place(key, from, now) == nil {
		by, other = other, by
	}
	if t.trying[by].n == 0 && t.trying[other].n > 0 {
		by = other
	}
	if under := t.trying[by]; under.n > 1 {
		t.trying[by] = tries{n: under.n - 1, last: under.last}
	} else {
		delete(t.trying, by)
	}
	return by
}

// failures gives what is known of the payer's, or nil; old ones are forgotten.
func (t *Throttle) failures(by payer, now time.Time) *failures {
	if by.known {
		p := t.place(by.account, by.place, now)
		if p == nil {
			return nil
		}
		if now.Sub(p.failures.last) >= t.cfg.Account.Forget {
			p.failures = failures{}
		}
		return &p.failures
	}
	f, _ := t.accounts.Get(by.account)
	if f != nil && now.Sub(f.last) >= t.cfg.Account.Forget {
		t.accounts.Remove(by.account)
		return nil
	}
	return f
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
