package revocation

import (
	"encoding/base32"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"
)

// Denylist is what is revoked, in memory. Ends and epochs only ever grow: applying events
// again or in another order changes nothing. It is safe for concurrent use.
//
// A reader that stores verdicts loads [Denylist.Version] first, then asks
// [Denylist.Revoked], and stores the earlier version with the verdict: once Apply has
// returned, no verdict under the current version is older than the applied events.
type Denylist struct {
	base    time.Time
	version atomic.Uint64

	mu sync.RWMutex
	// mu guards everything below.
	ids    map[id]life     // jti and sid that are 16 bytes in a canonical form
	texts  map[text]life   // any other jti and sid
	epochs map[text]epochs // sub, client and all
	kids   map[string]struct{}
}

// id is a jti or sid by its 16 bytes; it keeps no pointer for the collector to follow.
type id struct {
	sid  bool
	data [16]byte
}

type text struct {
	kind  Kind
	value string
}

// life is until when an entry must be kept: the broker's clock past end (Unix s) and the
// monotonic clock past length.
type life struct {
	end   int64
	until time.Duration
}

type epochs struct {
	life
	epoch int64
}

// NewDenylist gives an empty denylist. It reads the clock to measure how long it has held
// an entry, and starts no goroutine.
func NewDenylist() *Denylist {
	return &Denylist{
		base:   time.Now(),
		ids:    make(map[id]life),
		texts:  make(map[text]life),
		epochs: make(map[text]epochs),
		kids:   make(map[string]struct{}),
	}
}

// Apply inserts events and then bumps the version; what it inserted is in force when it
// returns. Of two events for one value the longest end and the highest epoch win. Events
// of an unknown kind are the caller's to refuse; they are left out.
func (d *Denylist) Apply(events ...Event) {
	if len(events) == 0 {
		return
	}
	now := time.Since(d.base)
	d.mu.Lock()
	for _, e := range events {
		d.insert(now, e)
	}
	d.version.Add(1)
	d.mu.Unlock()
}

func (d *Denylist) insert(now time.Duration, e Event) {
	l := life{end: e.ExpiresAt, until: now + lengthOf(e)}
	switch e.Kind {
	case KindJTI, KindSID:
		if k, ok := idOf(e.Kind, e.Value); ok {
			d.ids[k] = d.ids[k].longer(l)
			return
		}
		k := text{e.Kind, e.Value}
		d.texts[k] = d.texts[k].longer(l)
	case KindSub, KindClient, KindAll:
		k := text{e.Kind, e.Value}
		old := d.epochs[k]
		kept := old.longer(l)
		if e.Epoch > old.epoch {
			kept.until = max(old.until, l.until)
		}
		d.epochs[k] = epochs{life: kept, epoch: max(old.epoch, e.Epoch)}
	case KindKID:
		d.kids[e.Value] = struct{}{}
	}
}

// longer gives the life that ends later; the same end again does not prolong the wait.
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

// Revoked reports whether any entry hits the token.
func (d *Denylist) Revoked(s Subject) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if _, ok := d.kids[s.KID]; ok {
		return true
	}
	if e, ok := d.epochs[text{kind: KindAll}]; ok && s.SEP < e.epoch {
		return true
	}
	if e, ok := d.epochs[text{KindClient, s.ClientID}]; ok && s.CEP < e.epoch {
		return true
	}
	if e, ok := d.epochs[text{KindSub, s.Sub}]; ok && s.SEP < e.epoch {
		return true
	}
	return d.listed(KindSID, s.SID) || d.listed(KindJTI, s.JTI)
}

func (d *Denylist) listed(kind Kind, value string) bool {
	if value == "" {
		return false
	}
	if k, ok := idOf(kind, value); ok {
		_, hit := d.ids[k]
		return hit
	}
	_, hit := d.texts[text{kind, value}]
	return hit
}

// SetKids adds compromised key ids; they are dead for ever, so none is ever removed.
func (d *Denylist) SetKids(kids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := len(d.kids)
	for _, kid := range kids {
		d.kids[kid] = struct{}{}
	}
	if len(d.kids) != before {
		d.version.Add(1)
	}
}

// KidRevoked reports whether a key was compromised.
func (d *Denylist) KidRevoked(kid string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, ok := d.kids[kid]
	return ok
}

// Collect removes the entries that end at or below timeFloor (Unix seconds, the broker's)
// and whose full length has run on this process's monotonic clock since they came. It
// gives their number. A service calls it only while it is fresh.
func (d *Denylist) Collect(timeFloor int64) int {
	now := time.Since(d.base)
	dead := func(l life) bool { return l.end <= timeFloor && l.until <= now }
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.size()
	for k, l := range d.ids {
		if dead(l) {
			delete(d.ids, k)
		}
	}
	for k, l := range d.texts {
		if dead(l) {
			delete(d.texts, k)
		}
	}
	for k, e := range d.epochs {
		if dead(e.life) {
			delete(d.epochs, k)
		}
	}
	return before - d.size()
}

// DropStore forgets the sub, client and all entries: epochs are counters of one store and
// mean nothing in another. Compromised keys, jti and sid stay.
func (d *Denylist) DropStore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.epochs)
	d.version.Add(1)
}

// Version changes with every change that can turn a verdict; it starts at 0.
func (d *Denylist) Version() uint64 { return d.version.Load() }

// BumpVersion makes every stored verdict old, for instance when the keys changed.
func (d *Denylist) BumpVersion() { d.version.Add(1) }

// Len is the number of entries, compromised keys included.
func (d *Denylist) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.size()
}

func (d *Denylist) size() int { return len(d.ids) + len(d.texts) + len(d.epochs) + len(d.kids) }

var sidEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// idOf gives the 16 bytes behind a canonical sid (base32, lower case, no padding) or jti
// (UUID, lower case); any other text is compared as it is.
func idOf(kind Kind, value string) (id, bool) {
	if kind == KindSID {
		return sidOf(value)
	}
	return jtiOf(value)
}

func sidOf(value string) (id, bool) {
	k := id{sid: true}
	if len(value) != 26 {
		return k, false
	}
	var in, again [26]byte
	copy(in[:], value)
	var out [20]byte
	n, err := sidEncoding.Decode(out[:], in[:])
	if err != nil || n != len(k.data) {
		return k, false
	}
	copy(k.data[:], out[:])
	sidEncoding.Encode(again[:], k.data[:])
	return k, again == in
}

func jtiOf(value string) (id, bool) {
	var k id
	if len(value) != 36 || value[8] != '-' || value[13] != '-' || value[18] != '-' || value[23] != '-' {
		return k, false
	}
	var in [32]byte
	n := 0
	for i := range len(value) {
		switch c := value[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
			in[n] = c
			n++
		default:
			return k, false
		}
	}
	if n != len(in) {
		return k, false
	}
	_, err := hex.Decode(k.data[:], in[:])
	return k, err == nil
}
