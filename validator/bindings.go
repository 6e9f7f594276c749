package validator

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"tokenbroker/revocation"
)

// bindings are the contexts that end with their tokens at the latest. They are stored in chunks. Each is
// in one doubly linked list for each way to find it; places and links are numbers, not pointers, so that
// 100,000 of them stay small and the garbage collector has few pointers to follow. Memory is kept for the
// largest number of bindings so far.
//
// After the first binding it watches the denylist and, while anything is bound, keeps one timer. close
// ends both.
type bindings struct {
	nowMS func() int64 // the broker's clock
	deny  *revocation.Denylist

	running sync.WaitGroup // the timer, until it is stopped or its function returns

	mu sync.Mutex
	// mu guards everything below.
	closed  bool
	unwatch func()
	timer   *time.Timer
	wakeMS  int64 // when it fires, by the broker's clock

	seed   maphash.Seed
	chunks []*chunk
	used   place // the highest place used so far
	free   place // the first free place
	live   int
	serial uint32 // of the newest binding
	// The first binding of each list. jti, sid and sub have as many values as there are streams: they are
	// in buckets of up to four on average, which a look-up compares. Clients, keys and ends have few
	// values.
	heads   [bySub + 1][]place
	few     map[fewKey]place
	seconds map[int64]place // by exp, Unix s
}

// chunk has nearly 32 KiB.
type chunk struct {
	bindings [chunkSize]binding
	serials  [chunkSize]uint32 // of the present binding of each place; apart, as they would cost 8 bytes there
}

const chunkSize = 481

// place is the number of a binding, from 1. Zero means no binding.
type place uint32

type list int

const (
	byJTI list = iota
	bySID
	bySub // the last one in buckets
	byClient
	byKID
	byEnd
	lists
)

type fewKey struct {
	list  list
	value string
}

type binding struct {
	claims *Claims // nil if the place is free; its first link then is the next free place
	end    context.CancelCauseFunc
	links  [lists]link
}

type link struct{ prev, next place }

func newBindings(deny *revocation.Denylist, nowMS func() int64) *bindings {
	b := &bindings{
		nowMS: nowMS, deny: deny,
		seed:    maphash.MakeSeed(),
		few:     make(map[fewKey]place),
		seconds: make(map[int64]place),
	}
	for l := range b.heads {
		b.heads[l] = make([]place, 16)
	}
	return b
}

// add adds a binding. It returns false after close.
func (b *bindings) add(c *Claims, end context.CancelCauseFunc) (ticket, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ticket{}, false
	}
	if b.unwatch == nil {
		b.unwatch = b.deny.Watch(b.revoke)
	}
	if b.live == 4*len(b.heads[0]) {
		b.grow()
	}
	p := b.allocate()
	n := b.at(p)
	b.live++
	b.serial++
	n.claims, n.end = c, end
	*b.serialAt(p) = b.serial
	for l := range lists {
		b.link(l, p)
	}
	b.schedule(c.ExpiresAt.Unix())
	return ticket{of: b, place: p, serial: b.serial}, true
}

// end removes a binding and ends its context, whose first cause is kept. It is called with mu held:
// functions that run after a context's end run in other goroutines.
func (b *bindings) end(p place, cause error) {
	n := b.at(p)
	for l := range lists {
		b.unlink(l, p)
	}
	end := n.end
	*n = binding{}
	*b.serialAt(p) = 0
	n.links[0].next, b.free = b.free, p
	b.live--
	end(cause)
}

// close ends everything and waits for the timer. It may be called again.
func (b *bindings) close() {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil && b.timer.Stop() {
		b.running.Done()
	}
	b.timer = nil
	b.sweep(ErrClosed, func(*Claims) bool { return true })
	unwatch := b.unwatch
	b.unwatch = nil
	b.mu.Unlock()
	if unwatch != nil {
		unwatch()
	}
	b.running.Wait()
}

func (b *bindings) at(p place) *binding {
	return &b.chunks[(p-1)/chunkSize].bindings[(p-1)%chunkSize]
}

func (b *bindings) serialAt(p place) *uint32 {
	return &b.chunks[(p-1)/chunkSize].serials[(p-1)%chunkSize]
}

func (b *bindings) allocate() place {
	if p := b.free; p != 0 {
		b.free = b.at(p).links[0].next
		return p
	}
	if int(b.used) == len(b.chunks)*chunkSize {
		b.chunks = append(b.chunks, new(chunk))
	}
	b.used++
	return b.used
}

// grow doubles the buckets and fills them again.
func (b *bindings) grow() {
	for l := range b.heads {
		b.heads[l] = make([]place, 2*len(b.heads[l]))
	}
	for p := place(1); p <= b.used; p++ {
		if b.at(p).claims == nil {
			continue
		}
		for l := range bySub + 1 {
			b.link(l, p)
		}
	}
}

// keyOf returns the value that an event of the list's kind names. No token is listed under "".
func keyOf(l list, c *Claims) string {
	switch l {
	case byJTI:
		return c.ID
	case bySID:
		return c.SessionID
	case bySub:
		return c.Subject
	case byClient:
		return c.ClientID
	case byKID:
		return c.KeyID
	}
	return ""
}

func (b *bindings) bucket(l list, value string) *place {
	heads := b.heads[l]
	return &heads[maphash.String(b.seed, value)&uint64(len(heads)-1)]
}

func (b *bindings) head(l list, value string) place {
	if l <= bySub {
		return *b.bucket(l, value)
	}
	return b.few[fewKey{l, value}]
}

func (b *bindings) headOf(l list, c *Claims) place {
	if l == byEnd {
		return b.seconds[c.ExpiresAt.Unix()]
	}
	return b.head(l, keyOf(l, c))
}

func (b *bindings) setHead(l list, c *Claims, p place) {
	switch {
	case l <= bySub:
		*b.bucket(l, keyOf(l, c)) = p
	case l == byEnd:
		setOrDelete(b.seconds, c.ExpiresAt.Unix(), p)
	default:
		setOrDelete(b.few, fewKey{l, keyOf(l, c)}, p)
	}
}

func setOrDelete[K comparable](m map[K]place, key K, p place) {
	if p == 0 {
		delete(m, key)
	} else {
		m[key] = p
	}
}

func (b *bindings) link(l list, p place) {
	n := b.at(p)
	if l != byEnd && keyOf(l, n.claims) == "" {
		return
	}
	first := b.headOf(l, n.claims)
	n.links[l] = link{next: first}
	if first != 0 {
		b.at(first).links[l].prev = p
	}
	b.setHead(l, n.claims, p)
}

func (b *bindings) unlink(l list, p place) {
	n := b.at(p)
	if l != byEnd && keyOf(l, n.claims) == "" {
		return
	}
	at := n.links[l]
	if at.next != 0 {
		b.at(at.next).links[l].prev = at.prev
	}
	if at.prev != 0 {
		b.at(at.prev).links[l].next = at.next
	} else {
		b.setHead(l, n.claims, at.next)
	}
}
