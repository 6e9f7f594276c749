package revocation

import (
	"sync"
	"sync/atomic"
	"time"
)

// Denylist is the set of revocations in memory. Ends and epochs only grow, so applying events
// again or in another order changes nothing. It is safe for concurrent use.
//
// A reader that stores verdicts loads [Denylist.Version] first, then asks
// [Denylist.Judge], and stores the earlier version with the verdict: once Apply has
// returned, no verdict under the current version is older than the applied events.
//
// With a cap ([NewCappedDenylist]) the oldest jti and sid are evicted for new ones; kid, all,
// client and sub never do. An eviction does not un-revoke a token: until the broker's clock is
// past [Denylist.IncompleteUntil], a miss is [Unknown].
type Denylist struct {
	base    time.Time
	limit   int // of ids and of texts; zero means none
	version atomic.Uint64
	// watchers are called outside mu; see [Denylist.Watch].
	watchers atomic.Pointer[[]*watcher]

	mu sync.RWMutex
	// mu guards everything below.
	ids     table[id]     // jti and sid that are 16 bytes in a canonical form
	texts   table[string] // any other jti and sid
	subs    map[string]epochs
	clients map[string]epochs
	all     map[string]epochs // only under ""
	kids    map[string]struct{}
	// What was evicted: the number of entries, and the latest end of them (Unix s).
	evicted         uint64
	incompleteUntil int64
	inserted        uint64 // jti and sid that were added or prolonged
}

// Verdict is the result of [Denylist.Judge] for a token. The zero value does not accept the token.
type Verdict int

// The verdicts.
const (
	// Unknown means that no entry hits the token, but an evicted one might.
	Unknown Verdict = iota
	// NotRevoked means that neither an entry nor an evicted entry hits the token.
	NotRevoked
	// Revoked means that an entry hits the token.
	Revoked
)

// life is how long an entry must be kept: until the broker's clock is past end (Unix s) and the monotonic
// clock is past until.
type life struct {
	end   int64
	until time.Duration
}

type epochs struct {
	life
	epoch int64
}

// NewDenylist returns an empty denylist without a cap, which evicts nothing. It reads the
// clock to measure how long it has held an entry, and starts no goroutine.
func NewDenylist() *Denylist {
	return &Denylist{
		base:    time.Now(),
		ids:     newTable(idHash(), 0, nil),
		texts:   newTable(textHash(), 0, nil),
		subs:    make(map[string]epochs),
		clients: make(map[string]epochs),
		all:     make(map[string]epochs),
		kids:    make(map[string]struct{}),
	}
}

// Apply inserts events and then increments the version, unless nothing was new. When it returns, the
// events are in force and the watchers have been called. Of two events for one value, the latest end and
// the highest epoch count. Events of an unknown kind are ignored; the caller must refuse them.
func (d *Denylist) Apply(events ...Event) {
	if len(events) == 0 {
		return
	}
	now := time.Since(d.base)
	d.mu.Lock()
	changed := false
	for _, e := range events {
		changed = d.insert(now, e) || changed
	}
	if changed {
		d.version.Add(1)
	}
	d.mu.Unlock()
	d.notify(events)
}

// insert reports whether the event changed anything. A repeated event does not.
func (d *Denylist) insert(now time.Duration, e Event) (changed bool) {
	l := life{end: e.ExpiresAt, until: now + lengthOf(e)}
	switch e.Kind {
	case KindJTI, KindSID:
		kind := tableKindOf(e.Kind)
		if k, ok := idOf(e.Kind, e.Value); ok {
			changed = d.ids.prolong(kind, k, l)
		} else {
			changed = d.texts.prolong(kind, e.Value, l)
		}
		if changed {
			d.inserted++
		}
		return changed
	case KindSub, KindClient, KindAll:
		all := d.epochsOf(e.Kind)
		old, known := all[e.Value]
		kept := old.longer(l)
		if e.Epoch > old.epoch {
			kept.until = max(old.until, l.until)
		}
		all[e.Value] = epochs{life: kept, epoch: max(old.epoch, e.Epoch)}
		return !known || all[e.Value] != old
	case KindKID:
		_, known := d.kids[e.Value]
		d.kids[e.Value] = struct{}{}
		return !known
	}
	return false
}

func (d *Denylist) epochsOf(k Kind) map[string]epochs {
	switch k {
	case KindSub:
		return d.subs
	case KindClient:
		return d.clients
	default:
		return d.all
	}
}

// longer returns the life that ends later. A repeated end does not prolong the life.
func (l life) longer(m life) life {
	if m.end <= l.end {
		return l
	}
	return life{end: m.end, until: max(l.until, m.until)}
}

// lengthOf is the full length of an event, bounded so that it cannot overflow.
func lengthOf(e Event) time.Duration {
	const century = 100 * 365 * 24 * 3600
	return time.Duration(min(max(e.ExpiresAt-e.At, 0), century)) * time.Second
}

// Judge returns whether any entry hits the token at nowMS by the broker's clock (Unix ms), which is
// also the time against which the token's exp is checked.
func (d *Denylist) Judge(s Subject, nowMS int64) Verdict {
	d.mu.RLock()
	defer d.mu.RUnlock()
	switch {
	case d.hit(s):
		return Revoked
	case d.evicted > 0 && nowMS/1000 <= d.incompleteUntil:
		return Unknown
	}
	return NotRevoked
}

// Revoked reports whether any entry hits the token. That is a complete answer only if
// nothing was evicted, as without a cap; otherwise ask [Denylist.Judge].
func (d *Denylist) Revoked(s Subject) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.hit(s)
}

func (d *Denylist) hit(s Subject) bool {
	if _, ok := d.kids[s.KID]; ok {
		return true
	}
	if e, ok := d.all[""]; ok && s.SEP < e.epoch {
		return true
	}
	if e, ok := d.clients[s.ClientID]; ok && s.CEP < e.epoch {
		return true
	}
	if e, ok := d.subs[s.Sub]; ok && s.SEP < e.epoch {
		return true
	}
	return d.listed(KindSID, s.SID) || d.listed(KindJTI, s.JTI)
}

func (d *Denylist) listed(kind Kind, value string) bool {
	if value == "" {
		return false
	}
	of := tableKindOf(kind)
	if d.ids.count[of] > 0 {
		if k, ok := idOf(kind, value); ok {
			return d.ids.has(of, k)
		}
	}
	return d.texts.has(of, value)
}

// SetKids adds compromised key ids. They are never valid again, so none is ever removed. The
// watchers are called with the new ones.
func (d *Denylist) SetKids(kids []string) {
	var added []Event
	d.mu.Lock()
	for _, kid := range kids {
		if _, ok := d.kids[kid]; !ok {
			d.kids[kid] = struct{}{}
			added = append(added, Event{Kind: KindKID, Value: kid})
		}
	}
	if len(added) > 0 {
		d.version.Add(1)
	}
	d.mu.Unlock()
	d.notify(added)
}

// KidRevoked reports whether a key was compromised.
func (d *Denylist) KidRevoked(kid string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, ok := d.kids[kid]
	return ok
}

// Version changes with every change that can affect a verdict. It starts at 0.
func (d *Denylist) Version() uint64 { return d.version.Load() }

// BumpVersion invalidates every stored verdict, for example when the keys changed.
func (d *Denylist) BumpVersion() { d.version.Add(1) }

// IncompleteUntil returns the latest end of the evicted entries (Unix seconds by the broker's
// clock), or 0 if none was evicted. It only moves to later times.
func (d *Denylist) IncompleteUntil() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.incompleteUntil
}

type watcher struct{ call func([]Event) }

func (d *Denylist) notify(events []Event) {
	all := d.watchers.Load()
	if all == nil || len(events) == 0 {
		return
	}
	for _, w := range *all {
		w.call(events)
	}
}
