package throttle

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Throttle counts failures. It is safe for concurrent use and starts no goroutine. Its memory is
// bounded by Config.Size and the number of pending tries.
type Throttle struct {
	cfg Config

	mu sync.Mutex // guards the fields below
	// Only failures add entries, so that successful sign-ins do not remove any.
	accounts   *simplelru.LRU[failureKey, *failures]
	ipv4, ipv6 []*prefixLevel
	// Failures from known addresses, which also count above.
	knownIPv4, knownIPv6 []*prefixLevel
	// Only successful sign-ins add entries, so that failures do not remove any.
	known       *simplelru.LRU[accountKey, knownAddresses]
	knownCounts map[netip.Prefix]knownCount // of the addresses in known
	// Pending tries count as failures until their result is known.
	pending map[failureKey]pendingTries
}

type accountKey [sha256.Size]byte

// failureKey identifies the failures that count for a try: those of an account from one known
// address, or those from all other addresses together.
type failureKey struct {
	account accountKey
	address netip.Prefix // a known address, or the zero value
}

// failures are those of one failureKey.
type failures struct {
	n    int
	last time.Time
}

type pendingTries struct {
	n    int
	last time.Time // start of the latest
}

// New returns a Throttle without failures. It panics if a number in cfg is negative or a level is
// invalid.
func New(cfg Config) *Throttle {
	cfg.validate()
	t := &Throttle{
		cfg:      cfg,
		accounts: newLRU[failureKey, *failures](cfg.Size, nil),
		ipv4:     newLevels(cfg.IPv4, cfg.Size), ipv6: newLevels(cfg.IPv6, cfg.Size),
		knownIPv4: newLevels(knownLevels(cfg.IPv4), cfg.Size), knownIPv6: newLevels(knownLevels(cfg.IPv6), cfg.Size),
		knownCounts: make(map[netip.Prefix]knownCount), pending: make(map[failureKey]pendingTries),
	}
	t.known = newLRU(cfg.Size, func(_ accountKey, all knownAddresses) {
		for _, known := range all {
			t.dropKnown(known.from)
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

// Allow reports whether a password may be tried for name from addr now, and if not, when to try
// again. addr is an IP address without port; addresses that cannot be parsed share one bucket. An
// empty name is not an account: only the address is checked and charged. An allowed try counts as a
// failure until the caller reports its outcome with [Throttle.Done], which it must do once.
func (t *Throttle) Allow(name, addr string) (retryAfter time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), t.origin(addr)
	known := t.isKnown(from.own(), now)
	for _, allowance := range from.checked(known) {
		retryAfter = max(retryAfter, allowance.wait(now))
	}
	var by failureKey
	if name != "" {
		by = t.failureKey(name, from.own(), now)
		retryAfter = max(retryAfter, t.wait(by, from.brokers, now))
	}
	if retryAfter > 0 {
		return retryAfter, false
	}
	if name != "" {
		t.pending[by] = pendingTries{n: t.pending[by].n + 1, last: now}
	}
	from.begin(known)
	return 0, true
}

// Known reports whether addr is a known address. The result depends only on the address.
func (t *Throttle) Known(addr string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isKnown(t.origin(addr).own(), t.cfg.Now())
}

func (t *Throttle) failureKey(name string, from netip.Prefix, now time.Time) failureKey {
	by := failureKey{account: hash(name)}
	if t.isKnown(from, now) {
		by.address = from
	}
	return by
}

// wait is how long the next try that is charged to by must wait.
func (t *Throttle) wait(by failureKey, brokers int, now time.Time) time.Duration {
	account := t.cfg.Account.sharedBy(brokers)
	var wait time.Duration
	n := 0
	if f := t.failures(by, now); f != nil {
		n = f.n
		wait = f.last.Add(account.pause(n)).Sub(now)
	}
	if under := t.pending[by]; under.n > 0 {
		wait = max(wait, under.last.Add(account.pause(n+under.n)).Sub(now))
	}
	return wait
}

// Outcome is the result of a try.
type Outcome int

const (
	// Undecided means that the try has no result, for a reason that is not the caller's. It does not count.
	Undecided Outcome = iota
	// Failed means that the password was wrong. It counts against the account and each prefix of the address.
	Failed
	// Succeeded means that the password was right. It makes the address a known address and forgets the account's failures from it. Those from
	// other addresses stay, so that the person who caused them does not see that the account exists. Those
	// of the address also stay: otherwise one valid account would allow free guesses for all others.
	Succeeded
	// Abandoned means that the try has no result because the caller left, or because too many tries were
	// waiting. It counts against each prefix of the address, because it took a place in the queue,
	// and not against the account.
	Abandoned
)

// Done reports the outcome of a try that [Throttle.Allow] allowed, with the same name and addr.
func (t *Throttle) Done(name, addr string, outcome Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, from := t.cfg.Now(), t.origin(addr)
	by, known := t.ended(name, from, now)
	switch outcome {
	case Failed:
		t.failed(name, by, now)
		from.fail(known, now)
	case Abandoned:
		from.fail(known, now)
	case Succeeded:
		t.succeeded(name, from.own(), now)
	}
}

func (t *Throttle) failed(name string, by failureKey, now time.Time) {
	if name == "" {
		return
	}
	if !t.isKnown(by.address, now) { // no longer
		by.address = netip.Prefix{}
	}
	f := t.failures(by, now)
	if f == nil {
		f = new(failures)
		t.accounts.Add(by, f)
	}
	f.n++
	f.last = now
}

func (t *Throttle) succeeded(name string, from netip.Prefix, now time.Time) {
	if name == "" {
		return
	}
	by := failureKey{account: hash(name), address: from}
	t.addKnown(by.account, from, now)
	if by.address.IsValid() {
		t.accounts.Remove(by)
	}
}

// ended reverts the charge of Allow, and returns the failureKey that was charged, and whether the
// address was known. While a try is pending, its address can become known, or unknown again; each
// charge is reverted once nevertheless.
func (t *Throttle) ended(name string, from origin, now time.Time) (by failureKey, known bool) {
	known = from.end(t.isKnown(from.own(), now))
	if name == "" {
		return failureKey{}, known
	}
	by = t.failureKey(name, from.own(), now)
	other := failureKey{account: by.account}
	if by == other {
		other.address = from.own()
	}
	if t.pending[by].n == 0 && t.pending[other].n > 0 {
		by = other
	}
	if under := t.pending[by]; under.n > 1 {
		t.pending[by] = pendingTries{n: under.n - 1, last: under.last}
	} else {
		delete(t.pending, by)
	}
	return by, known
}

// failures returns the failures of a failureKey, or nil. It removes expired ones.
func (t *Throttle) failures(by failureKey, now time.Time) *failures {
	f, _ := t.accounts.Get(by)
	if f != nil && now.Sub(f.last) >= t.cfg.Account.Forget {
		t.accounts.Remove(by)
		return nil
	}
	return f
}

func hash(name string) accountKey { return sha256.Sum256([]byte(name)) }
