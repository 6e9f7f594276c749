package receipts

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/revocation"
)

// Errors of [Collector.Take]. Either way nothing was changed.
var (
	// ErrRefused is a receipt that is none, or not the sender's to give.
	ErrRefused = errors.New("the receipt is refused")
	// ErrFull says that too many services are remembered already.
	ErrFull = errors.New("too many services send receipts")
)

const (
	// NATS begins the source of what came over NATS; the id in the subject follows.
	NATS = "nats/"
	// HTTP begins the source of what was posted; the id of the client follows.
	HTTP = "http/"
)

const (
	// heardWithin is how recently a service has to have been heard to be waited for.
	heardWithin = 3 * time.Second
	// forgetAfter is when a service that says no more is forgotten.
	forgetAfter = 60 * time.Second

	maxServices = 5000
	maxOfSource = 1000
	// keptOfSource services of each known source are remembered even if there are maxServices,
	// and maxUnknown of all sources that are not known.
	keptOfSource = 20
	maxUnknown   = 100
	// sweepEvery bounds how often a flood of new names has the memory searched for old ones.
	sweepEvery = time.Second
)

// Config of a [Collector]. All of it but Known is required.
type Config struct {
	// Origin is the one whose batches are waited for: the broker's own.
	Origin string
	// Head is the last batch that Origin committed: nobody can have applied more.
	Head func() uint64
	// Mono is a monotonic clock.
	Mono func() time.Duration
	// Known reports whether there is a service, or a client, of that id: only they are waited for.
	// If nil, every id is known.
	Known func(id string) bool
}

// Collector takes receipts and tells who has applied what. It remembers 5,000 services, 1,000 of
// one source, 100 of all sources that are not known, until they have sent none for a minute; 20 of
// each known source are always remembered. It starts no goroutine and is safe for concurrent use.
type Collector struct {
	config   Config
	expected atomic.Int64
	refused  atomic.Uint64

	mu       sync.Mutex // guards what follows
	services map[name]*service
	sources  map[string]int // services by source
	unknown  int            // services of unknown sources
	pending  int            // what all waits have pending
	swept    time.Duration
	waits    map[*Wait]struct{}
	closed   bool
}

// name is a service: what it calls itself, under the source that it cannot choose.
type name struct{ source, service string }

// service is what was last heard of one.
type service struct {
	applied   uint64
	appliedAt time.Duration // when applied rose
	fresh     bool
	age       time.Duration
	heard     time.Duration
	known     bool
	waits     map[*Wait]struct{} // those that it is pending in
}

// New returns a collector that has heard of nobody.
func New(config Config) *Collector {
	return &Collector{
		config: config, services: map[name]*service{}, sources: map[string]int{}, waits: map[*Wait]struct{}{},
	}
}

// Take takes a receipt as it came. source is [NATS] or [HTTP] and the sender's id; over NATS,
// where the subject is what the sender is held to, the service's id has to be the same. It
// never blocks. Errors wrap [ErrRefused] or [ErrFull].
func (c *Collector) Take(source string, raw []byte) error {
	err := c.take(source, raw)
	if err != nil {
		c.refused.Add(1)
	}
	return err
}

func (c *Collector) take(source string, raw []byte) error {
	receipt, err := revocation.ParseReceipt(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	named, _, _ := strings.Cut(receipt.Service, "/")
	known := true // a client that posts has signed in
	if id, ok := strings.CutPrefix(source, NATS); ok {
		if named != id {
			return fmt.Errorf("%w: it names another service than its subject", ErrRefused)
		}
		known = c.known(id)
	} else if client := strings.TrimPrefix(source, HTTP); named != revocation.ServiceID(client) && c.config.Known != nil && c.config.Known(named) {
		return fmt.Errorf("%w: it names a service of another client", ErrRefused)
	}
	applied := receipt.Applied[c.config.Origin]
	if applied > c.config.Head() {
		return fmt.Errorf("%w: it is ahead of what was committed", ErrRefused)
	}
	now := c.config.Mono()
	who := name{source, receipt.Service}

	c.mu.Lock()
	defer c.mu.Unlock()
	s, remembered := c.services[who]
	if !remembered {
		if !c.room(source, known, now) {
			return ErrFull
		}
		s = &service{known: known, waits: map[*Wait]struct{}{}}
		c.services[who] = s
		c.sources[source]++
		if !known {
			c.unknown++
		}
	}
	s.heard, s.fresh, s.age = now, receipt.Fresh, time.Duration(receipt.AgeMS)*time.Millisecond
	if before := s.applied; applied > before { // receipts may overtake each other
		s.applied, s.appliedAt = applied, now
		for w := range s.waits {
			if w.seq <= applied {
				w.applied(who, s, now)
			}
		}
	}
	return nil
}

func (c *Collector) known(id string) bool { return c.config.Known == nil || c.config.Known(id) }

// room reports whether one more service of source can be remembered.
func (c *Collector) room(source string, known bool, now time.Duration) bool {
	full := func() bool {
		switch {
		case !known && c.unknown >= maxUnknown, c.sources[source] >= maxOfSource:
			return true
		case known && c.sources[source] < keptOfSource:
			return false
		}
		return len(c.services) >= maxServices
	}
	if !full() {
		return true
	}
	if now-c.swept < sweepEvery {
		return false
	}
	c.sweep(now)
	return !full()
}

// sweep forgets who has said nothing for long.
func (c *Collector) sweep(now time.Duration) {
	c.swept = now
	for who, s := range c.services {
		if now-s.heard > forgetAfter {
			delete(c.services, who)
			if !s.known {
				c.unknown--
			}
			if c.sources[who.source]--; c.sources[who.source] == 0 {
				delete(c.sources, who.source)
			}
		}
	}
}

// Refused is how many receipts changed nothing, for whatever reason.
func (c *Collector) Refused() uint64 { return c.refused.Load() }

// Service is what is known of one.
type Service struct {
	// Service is what it calls itself, Source how its receipts came and from whom.
	Service, Source string
	// Awaited says that waits wait for it, unless it is silent: its source is known.
	Awaited bool
	// Applied is the last of the own batches up to which it has all, Lag how many it lacks.
	Applied, Lag uint64
	// Fresh is what it says of itself, and Age how old its knowledge was then.
	Fresh bool
	Age   time.Duration
	// Heard is how long ago that was.
	Heard time.Duration
}

// Silent says that nobody waits for the service any more: it has not been heard for 3 s.
func (s Service) Silent() bool { return s.Heard > heardWithin }

// Services lists those that were heard within the last minute, by name.
func (c *Collector) Services() []Service {
	head := c.config.Head()
	now := c.config.Mono()
	c.mu.Lock()
	c.sweep(now)
	list := make([]Service, 0, len(c.services))
	for who, s := range c.services {
		list = append(list, Service{
			Service: who.service, Source: who.source, Awaited: s.known, Applied: s.applied, Lag: head - min(head, s.applied),
			Fresh: s.fresh, Age: s.age, Heard: now - s.heard,
		})
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Service) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Source, b.Source))
	})
	return list
}
