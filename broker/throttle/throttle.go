package throttle

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Throttle remembers failures. It is safe for concurrent use and starts no goroutine. Its
// memory is bounded by Config.Size and the number of tries under way.
type Throttle struct {
	cfg Config

	mu sync.Mutex // guards what is below
	// Only failures make entries, so that good sign-ins push none out.
	accounts   *simplelru.LRU[payer, *failures]
	ipv4, ipv6 []*level
	// Failures from known addresses, which count above as well.
	knownIPv4, knownIPv6 []*level
	// Only successes make entries, so that failures push none out.
	known     *simplelru.LRU[accountKey, places]
	sightings map[netip.Prefix]sighting // of what is in known
	// Tries under way count as failures until their result is known.
	trying map[payer]tries
}

type accountKey [sha256.Size]byte

// payer is whose failures a try is judged by: an account's from one known address, or those
// from all other addresses together.
type payer struct {
	account accountKey
	place   netip.Prefix // a known address, or the zero value
}

// failures are those of a payer.
type failures struct {
	n    int
	last time.Time
}

type tries struct {
	n    int
	last time.Time // when the latest began
}

// New makes a Throttle that remembers nothing yet. It panics when a number in cfg is negative
// or a level is not possible.
func New(cfg Config) *Throttle {
	cfg.validate()
	t := &Throttle{
		cfg:      cfg,
		accounts: newLRU[payer, *failures](cfg.Size, nil),
		ipv4:     newLevels(cfg.IPv4, cfg.Size), ipv6: newLevels(cfg.IPv6, cfg.Size),
		knownIPv4: newLevels(knownLevels(cfg.IPv4), cfg.Size), knownIPv6: newLevels(knownLevels(cfg.IPv6), cfg.Size),
		sightings: make(map[netip.Prefix]sighting), trying: make(map[payer]tries),
	}
	t.known = newLRU(cfg.Size, func(_ accountKey, all places) {
		for _, place := range all {
			t.leave(place.from)
		}
	})
	return t
}

func newLRU[K comparable, V any](size int, evicted simplelru.EvictCallback[K, V]) *simplelru.LRU[K, V] {
	lru, err := simplelru.NewLRU(size, evicted)
	if err != nil {
		panic("throttle: " + err.Error())
	}
	return lru
}

// Allow tells whether a password may be tried for name from addr now, and if not, when to
// ask again. addr is an IP address without port; addresses that cannot be parsed share one
// bucket. An empty name is not an account: only the address decides, and pays. A try that is
// allowed is charged as a failure until [Throttle.Failed], [Throttle.Succeeded],
// [Throttle.Abandoned] or [Throttle.Refund] is called for it, with the same name and addr: one
// of them has to be, once.
func (t *Throttle) Allow(name, addr string) (retryAfter time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), t.origin(addr)
	known := t.isKnown(from.own(), now)
	for _, share := range from.judges(known) {
		retryAfter = max(retryAfter, share.wait(now))
	}
	var by payer
	if name != "" {
		by = t.payer(name, from.own(), now)
		retryAfter = max(retryAfter, t.wait(by, now))
	}
	if retryAfter > 0 {
		return retryAfter, false
	}
	if name != "" {
		t.trying[by] = tries{n: t.trying[by].n + 1, last: now}
	}
	from.begin(known)
	return 0, true
}

// Known tells whether addr is a known address. The answer depends only on the address.
func (t *Throttle) Known(addr string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isKnown(t.origin(addr).own(), t.cfg.Now())
}

func (t *Throttle) payer(name string, from netip.Prefix, now time.Time) payer {
	by := payer{account: hash(name)}
	if t.isKnown(from, now) {
		by.place = from
	}
	return by
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

// Failed says that the password was wrong: it counts against the account and against every
// prefix of the address.
func (t *Throttle) Failed(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), t.origin(addr)
	by, known := t.ended(name, from, now)
	if name != "" {
		if !t.isKnown(by.place, now) { // no longer
			by.place = netip.Prefix{}
		}
		f := t.failures(by, now)
		if f == nil {
			f = new(failures)
			t.accounts.Add(by, f)
		}
		f.n++
		f.last = now
	}
	from.fail(known, now)
}

// Succeeded makes addr a known address and forgets the account's failures from there. Those
// from elsewhere stay, so that the person who caused them does not see that the account
// exists; so do those of the address: otherwise one good account would buy free guesses at
// all others.
func (t *Throttle) Succeeded(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), t.origin(addr)
	t.ended(name, from, now)
	if name == "" {
		return
	}
	by := payer{account: hash(name), place: from.own()}
	t.know(by.account, from.own(), now)
	if by.place.IsValid() {
		t.accounts.Remove(by)
	}
}

// Abandoned says that the try was not decided because the caller left, or because too many
// tries were waiting. It counts against every prefix of the address, since it took a place
// that others wanted, and not against the account.
func (t *Throttle) Abandoned(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), t.origin(addr)
	_, known := t.ended(name, from, now)
	from.fail(known, now)
}

// Refund says that the try was not decided, and not through its caller: it counts for nothing.
func (t *Throttle) Refund(name, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended(name, t.origin(addr), t.cfg.Now())
}

// ended takes back what Allow charged, and reports whom, and whether as a known address.
// While a try is under way its address can become known, or cease to be: as many are taken back as were
// charged.
func (t *Throttle) ended(name string, from origin, now time.Time) (by payer, known bool) {
	known = from.end(t.isKnown(from.own(), now))
	if name == "" {
		return payer{}, known
	}
	by = t.payer(name, from.own(), now)
	other := payer{account: by.account}
	if by == other {
		other.place = from.own()
	}
	if t.trying[by].n == 0 && t.trying[other].n > 0 {
		by = other
	}
	if under := t.trying[by]; under.n > 1 {
		t.trying[by] = tries{n: under.n - 1, last: under.last}
	} else {
		delete(t.trying, by)
	}
	return by, known
}

// failures returns what is remembered of the payer's, or nil; old ones are forgotten.
func (t *Throttle) failures(by payer, now time.Time) *failures {
	f, _ := t.accounts.Get(by)
	if f != nil && now.Sub(f.last) >= t.cfg.Account.Forget {
		t.accounts.Remove(by)
		return nil
	}
	return f
}

func hash(name string) accountKey { return sha256.Sum256([]byte(name)) }
