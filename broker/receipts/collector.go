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

// The errors of [Collector.Take], after which nothing has changed.
var (
	// ErrRefused means that the message is not a receipt, or not one of the sender's service.
	ErrRefused = errors.New("invalid receipt")
	// ErrFull means that too many services are already remembered.
	ErrFull = errors.New("too many services send receipts")
)

const (
	// NATS is the prefix of the source of receipts over NATS. The id in the subject follows.
	NATS = "nats/"
	// HTTP is the prefix of the source of posted receipts. The id of the client follows.
	HTTP = "http/"
)

const (
	// heardWithin is how recently a service must have sent a receipt to be waited for.
	heardWithin = 3 * time.Second
	// forgetAfter is how long a silent service is remembered.
	forgetAfter = 60 * time.Second

	maxServices = 5000
	maxOfSource = 1000
	// keptOfSource is how many services of each known source are remembered even beyond maxServices;
	// maxUnknown bounds those of all unknown sources.
	keptOfSource = 20
	maxUnknown   = 100
	// sweepEvery bounds how often new names cause a search for services to forget.
	sweepEvery = time.Second
)

// Config configures a [Collector]. All fields except Known are required.
type Config struct {
	// Origin is the origin whose batches are waited for: the broker's own.
	Origin string
	// Head returns the last batch that Origin committed. No service can have applied a later one.
	Head func() uint64
	// Mono returns the time of a monotonic clock.
	Mono func() time.Duration
	// Known reports whether there is a service or a client with that id. Only known ones are waited for.
	// If nil, every id is known.
	Known func(id string) bool
}

// Collector collects receipts and reports what each service has applied. It remembers up to 5,000 services, 1,000 of
// one source and 100 of all unknown sources, until they have sent no receipt for a minute. Up to 20 of
// each known source are always remembered. It starts no goroutine and is safe for concurrent use.
type Collector struct {
	config   Config
	expected atomic.Int64
	refused  atomic.Uint64

	mu       sync.Mutex // guards the fields below
	services map[name]*service
	sources  map[string]int // services by source
	unknown  int            // services of unknown sources
	pending  int            // services that all waits wait for
	swept    time.Duration
	waits    map[*Wait]struct{}
	closed   bool
}

// name identifies a service: its own name, and the source, which it cannot choose.
type name struct{ source, service string }

// service is the latest receipt of a service.
type service struct {
	applied   uint64
	appliedAt time.Duration // when applied last rose
	fresh     bool
	age       time.Duration
	heard     time.Duration
	known     bool
	waits     map[*Wait]struct{} // those that wait for it
}

// New returns an empty collector.
func New(config Config) *Collector {
	return &Collector{
		config: config, services: map[name]*service{}, sources: map[string]int{}, waits: map[*Wait]struct{}{},
	}
}

// Take takes an encoded receipt. source is [NATS] or [HTTP], followed by the sender's id. Over NATS,
// where the sender is authorized for its subject, the service's id has to be the same. Take
// never blocks. Its errors wrap [ErrRefused] or [ErrFull].
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
	known := true // a client that posts has authenticated
	if id, ok := strings.CutPrefix(source, NATS); ok {
		if named != id {
			return fmt.Errorf("%w: the service in the receipt differs from the subject", ErrRefused)
		}
		known = c.known(id)
	} else if client := strings.TrimPrefix(source, HTTP); named != revocation.ServiceID(client) && c.config.Known != nil && c.config.Known(named) {
		return fmt.Errorf("%w: the receipt names a service of another client", ErrRefused)
	}
	applied := receipt.Applied[c.config.Origin]
	if applied > c.config.Head() {
		return fmt.Errorf("%w: the receipt is ahead of the committed batches", ErrRefused)
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

// sweep forgets services that have been silent for long.
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

// Refused returns the number of refused receipts.
func (c *Collector) Refused() uint64 { return c.refused.Load() }

// Service is the state of a service.
type Service struct {
	// Service is the name that the service reports, and Source the channel and the sender of its receipts.
	Service, Source string
	// Awaited is true if waits wait for the service unless it is silent, because its source is known.
	Awaited bool
	// Applied is the last of the broker's own batches up to which the service has applied all batches, and Lag the
	// number of batches that it lacks.
	Applied, Lag uint64
	// Fresh is true if the service reports to be fresh, and Age is the age of its knowledge at that report.
	Fresh bool
	Age   time.Duration
	// Heard is the time since the latest receipt.
	Heard time.Duration
}

// Silent reports whether waits no longer wait for the service, because it has sent nothing for 3 s.
func (s Service) Silent() bool { return s.Heard > heardWithin }

// Services returns the services that sent a receipt within the last minute, sorted by name.
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
