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

// Config configures a [Collector]. All fields except Known are required. The functions must not call the Collector.
type Config struct {
	// Origin returns the broker's own origin, of which services are shown with their lag. A broker whose origin was ended
	// by another one has a new origin from then on.
	Origin func() string
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
	now := c.config.Mono()
	who := name{source, receipt.Service}

	c.mu.Lock()
	defer c.mu.Unlock()
	origin, head := c.own()
	if receipt.Applied[origin] > head {
		return fmt.Errorf("%w: the receipt is ahead of the committed batches", ErrRefused)
	}
	s, remembered := c.services[who]
	if !remembered {
		if !c.room(source, known, now) {
			return ErrFull
		}
		s = &service{known: known, applied: map[string]progress{}, waits: map[*Wait]struct{}{}}
		c.services[who] = s
		c.sources[source]++
		if !known {
			c.unknown++
		}
	}
	s.heard, s.fresh, s.age = now, receipt.Fresh, time.Duration(receipt.AgeMS)*time.Millisecond
	s.speaks, s.speaker = receipt.Speaks, receipt.Speaker
	s.report(receipt.Applied, origin, now)
	for w := range s.waits {
		if s.has(w.heads) {
			w.applied(who, s, now)
		}
	}
	return nil
}

// own returns the broker's origin and its head.
func (c *Collector) own() (origin string, head uint64) {
	for {
		origin, head = c.config.Origin(), c.config.Head()
		if origin == c.config.Origin() { // otherwise head may be that of the next origin
			return origin, head
		}
	}
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
	// Speaks is the version of the protocol in that receipt, 0 if it has none. A service below [revocation.Speaks]
	// cannot follow several brokers.
	Speaks int
	// Speaker is the origin of the broker that the service hears, empty if the receipt has none.
	Speaker string
}

// Silent reports whether waits no longer wait for the service, because it has sent nothing for 3 s.
func (s Service) Silent() bool { return s.Heard > heardWithin }

// Services returns the services that sent a receipt within the last minute, sorted by name.
func (c *Collector) Services() []Service {
	now := c.config.Mono()
	c.mu.Lock()
	c.sweep(now)
	origin, head := c.own()
	list := make([]Service, 0, len(c.services))
	for who, s := range c.services {
		applied := s.applied[origin].seq
		list = append(list, Service{
			Service: who.service, Source: who.source, Awaited: s.known, Applied: applied, Lag: head - min(head, applied),
			Fresh: s.fresh, Age: s.age, Heard: now - s.heard, Speaks: s.speaks, Speaker: s.speaker,
		})
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Service) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Source, b.Source))
	})
	return list
}

// maxOutdated bounds the names that [Collector.Outdated] returns.
const maxOutdated = 20

// Outdated returns the names of up to 20 services that sent a receipt within the last minute and cannot follow several
// brokers, because they do not speak [revocation.Speaks] of the protocol. The names are sorted. It includes services
// whose source is not known.
func (c *Collector) Outdated() []string {
	var names []string
	for _, s := range c.Services() {
		if s.Speaks < revocation.Speaks && (len(names) == 0 || names[len(names)-1] != s.Service) { // sorted by name
			names = append(names, s.Service)
		}
	}
	return names[:min(len(names), maxOutdated)]
}
