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
	// sweepEvery bounds how often a flood of new names has the memory searched for old ones.
	sweepEvery = time.Second
)

// Config of a [Collector]. All of it is required.
type Config struct {
	// Origin is the one whose batches are waited for: the broker's own.
	Origin string
	// Head is the last batch that Origin committed: nobody can have applied more.
	Head func() uint64
	// Mono is a monotonic clock.
	Mono func() time.Duration
}

// Collector takes receipts and tells who has applied what. It remembers 5,000 services, of
// one source 1,000, until they have said nothing for a minute. It starts no goroutine and is
// safe for concurrent use.
type Collector struct {
	config   Config
	expected atomic.Int64
	refused  atomic.Uint64

	mu       sync.Mutex // guards what follows
	services map[name]*service
	sources  map[string]int // services by source
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
	if id, ok := strings.CutPrefix(source, NATS); ok {
		if own, _, _ := strings.Cut(receipt.Service, "/"); own != id {
			return fmt.Errorf("%w: it names another service than its subject", ErrRefused)
		}
	}
	applied := receipt.Applied[c.config.Origin]
	if applied > c.config.Head() {
		return fmt.Errorf("%w: it is ahead of what was committed", ErrRefused)
	}
	now := c.config.Mono()
	who := name{source, receipt.Service}

	c.mu.Lock()
	defer c.mu.Unlock()
	s, known := c.services[who]
	if !known {
		if !c.room(source, now) {
			return ErrFull
		}
		s = &service{}
		c.services[who] = s
		c.sources[source]++
	}
	s.heard, s.fresh, s.age = now, receipt.Fresh, time.Duration(receipt.AgeMS)*time.Millisecond
	if before := s.applied; applied > before { // receipts may overtake each other
		s.applied, s.appliedAt = applied, now
		for w := range c.waits {
			if before < w.seq && w.seq <= applied {
				w.applied(who, now)
			}
		}
	}
	return nil
}

// room says whether one more service of source can be remembered.
func (c *Collector) room(source string, now time.Duration) bool {
	full := func() bool { return len(c.services) >= maxServices || c.sources[source] >= maxOfSource }
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
			Service: who.service, Source: who.source, Applied: s.applied, Lag: head - min(head, s.applied),
			Fresh: s.fresh, Age: s.age, Heard: now - s.heard,
		})
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Service) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Source, b.Source))
	})
	return list
}
