package validator

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/revocation"
)

const (
	tickEvery    = 100 * time.Millisecond
	collectEvery = time.Second
	inboxSize    = 4096
	inboxBytes   = 64 << 20
)

// syncer keeps keys and revocations in memory and current. It runs [revocation.Tracker]. One goroutine
// owns the tracker and the feed keys; fetches run in short-lived goroutines that report to it, and a third
// sends receipts. All of them stop with close.
type syncer struct {
	cfg    Config
	broker *brokerClient
	name   string           // in receipts
	wall   func() time.Time // the wall clock
	denied *revocation.Denylist
	now    atomic.Pointer[view]
	tokens *tokenKeys
	counts feedCounts

	inbox     chan delivery
	inboxSize atomic.Int64 // bytes
	gaps      chan error
	results   chan func()
	ready     chan struct{} // closed once the service is ready
	fatal     chan error    // receives the reason if the service cannot become ready
	stop      context.CancelFunc
	stopped   chan struct{} // closed when the owner goroutine has ended
	fetches   sync.WaitGroup
	reporter  *reporter       // nil if the feed takes no receipts
	link      revocation.Link // nil if the feed does not report its faults

	// Used only by the owner.
	tracker     *revocation.Tracker
	feedKeys    feedKeys
	cancelCatch context.CancelFunc
	collectedAt time.Duration
	reportedAt  time.Duration
	progress    progress // at the last receipt
	isReady     bool
	wasFresh    bool
	wasPartial  bool
	failing     map[string]string

	mu     sync.Mutex
	broken map[string]error // mu guards it: the jobs that fail now, for the error of start
}

// delivery is one message of the feed as it arrived.
type delivery struct {
	raw     []byte
	arrival time.Duration
}

var _ revocation.Sink = (*syncer)(nil)

// newSyncer returns a syncer for a configuration whose defaults are set. Call start to start it.
func newSyncer(cfg Config) *syncer {
	s := &syncer{
		cfg:     cfg,
		broker:  newBrokerClient(cfg.Issuer, cfg.Client, cfg.HTTPClient),
		name:    receiptName(cfg.Service),
		wall:    time.Now,
		denied:  revocation.NewCappedDenylist(cfg.DenylistSize),
		tokens:  newTokenKeys(),
		inbox:   make(chan delivery, inboxSize),
		gaps:    make(chan error, 1),
		results: make(chan func()),
		ready:   make(chan struct{}),
		fatal:   make(chan error, 1),
		stopped: make(chan struct{}),
		failing: make(map[string]string),
		broken:  make(map[string]error),
	}
	s.now.Store(&view{unproved: true})
	return s
}

// close ends the subscription and waits for the goroutines. It may be called more than once.
func (s *syncer) close() {
	s.stop()
	<-s.stopped
	s.broker.connections.CloseIdleConnections()
}

func (s *syncer) denylist() *revocation.Denylist { return s.denied }

func (s *syncer) key(ctx context.Context, kid string) (verificationKey, error) {
	return s.tokens.key(ctx, s.stopped, kid)
}

var errInboxFull = errors.New("more messages than can be taken in")

// Message implements [revocation.Sink]. A message that does not fit is dropped and becomes a gap.
func (s *syncer) Message(raw []byte) {
	s.counts.messages.Add(1)
	n := int64(len(raw))
	if s.inboxSize.Add(n) > inboxBytes {
		s.overflow(n)
		return
	}
	select {
	case s.inbox <- delivery{raw: raw, arrival: monotonic()}:
	default:
		s.overflow(n)
	}
}

// overflow releases the n bytes of a message that does not fit and counts it.
func (s *syncer) overflow(n int64) {
	s.inboxSize.Add(-n)
	s.counts.overflowed.Add(1)
	s.requestCatchUp(errInboxFull)
}

// Gap implements [revocation.Sink].
func (s *syncer) Gap(cause error) {
	s.counts.gaps.Add(1)
	s.requestCatchUp(cause)
}

// requestCatchUp requests a catch-up. Further requests have no effect until the owner has received the
// first.
func (s *syncer) requestCatchUp(cause error) {
	select {
	case s.gaps <- cause:
	default:
	}
}

func (s *syncer) readClocks() revocation.Instant {
	return revocation.ReadInstant(monotonic, s.wall)
}

// run is the owner goroutine: it passes events to the tracker and performs its effects.
func (s *syncer) run(ctx context.Context) {
	defer s.fetches.Wait()
	s.reportedAt = monotonic() - receiptEvery // the first receipt is due as soon as it is ready
	s.tracker = revocation.NewTracker(s.readClocks(), revocation.TrackerConfig{
		MaxStaleness: s.cfg.MaxStaleness, Jitter: rand.Float64,
	})
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	s.perform(ctx, s.tracker.Tick(s.readClocks()))
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-s.inbox:
			s.inboxSize.Add(-int64(len(d.raw)))
			s.receive(ctx, revocation.Held{Raw: d.raw, Arrival: d.arrival})
		case cause := <-s.gaps:
			s.cfg.Logger.Debug("a gap in the revocation feed", "cause", cause)
			s.perform(ctx, s.tracker.Gap(s.readClocks()))
		case report := <-s.results:
			report()
		case <-s.tokens.wanted:
			s.perform(ctx, s.tracker.WantTokenKeys(s.readClocks()))
		case <-tick.C:
			s.perform(ctx, s.tracker.Tick(s.readClocks()))
			s.checkLink()
			s.collect()
			s.report(false)
		}
	}
}

func (s *syncer) receive(ctx context.Context, h revocation.Held) {
	m, err := revocation.ParseMessage(h.Raw, func(kid string) (ed25519.PublicKey, bool) {
		public, ok := s.feedKeys.set[kid]
		return public, ok
	})
	switch {
	case err == nil:
		s.perform(ctx, s.tracker.Message(s.readClocks(), h.Arrival, m))
	case errors.Is(err, revocation.ErrUnknownKey):
		s.perform(ctx, s.tracker.Unknown(s.readClocks(), h))
	default:
		s.counts.refused(err)
		s.cfg.Logger.Debug("a revocation message was refused", "error", err)
	}
}

// perform performs effects in their documented order.
func (s *syncer) perform(ctx context.Context, e revocation.Effects) {
	for _, line := range e.Notes {
		s.cfg.Logger.Warn("revocations: " + line)
	}
	if e.DropStore {
		s.tokens.drop()
		s.feedKeys = feedKeys{}
		s.denied.DropStore()
	}
	if len(e.Kids)+len(e.Apply) > 0 {
		s.denied.SetKids(e.Kids)
		s.denied.Apply(e.Apply...)
		s.feedKeys.dropRevoked(s.denied.KidRevoked)
		if s.tokens.dropRevoked(s.denied.KidRevoked) {
			s.denied.BumpVersion()
		}
	}
	s.publish()
	if e.Receipt {
		s.report(true)
	}
	if e.CatchUp != nil {
		s.startCatchUp(ctx, *e.CatchUp)
	}
	if e.FetchTokenKeys {
		s.startTokenKeys(ctx)
	}
	if e.FetchFeedKeys {
		s.startFeedKeys(ctx)
	}
	for _, h := range e.Retry {
		s.receive(ctx, h)
	}
}

// spawn runs work in its own goroutine and then calls report in the owner's goroutine.
func (s *syncer) spawn(ctx context.Context, work func() (report func())) {
	s.fetches.Go(func() {
		report := work()
		select {
		case s.results <- report:
		case <-ctx.Done():
		}
	})
}

// ErrMisconfigured is wrapped by the error of [New] when the broker, or another server at its
// address, refused a request for a reason that another attempt cannot change.
var ErrMisconfigured = errors.New("check the configuration")

// start subscribes, starts to follow the issuer and returns when keys and live revocations are in memory.
// If ctx ends before, if the start takes longer than its timeout, or if an error cannot be changed by
// another attempt, everything is stopped and the error says what was missing. It is called once.
func (s *syncer) start(ctx context.Context) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = cancel
	if limit := s.cfg.StartTimeout; limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready within %s (StartTimeout)", limit))
		defer stop()
	}
	feed, err := s.cfg.Feed.Open(ctx, s)
	if err != nil {
		cancel()
		close(s.stopped)
		return fmt.Errorf("opening the revocation feed: %w", err)
	}
	s.link, _ = feed.(revocation.Link)
	if sender, ok := feed.(revocation.ReceiptSender); ok {
		s.reporter = newReporter(sender, s.name, &s.counts, s.cfg.Logger)
		go s.reporter.run(run)
	}
	go func() {
		defer close(s.stopped)
		s.run(run)
		if s.reporter != nil {
			<-s.reporter.done
		}
		if err := feed.Close(); err != nil {
			s.cfg.Logger.Warn("closing the revocation feed", "error", err)
		}
	}()
	select {
	case <-s.ready:
		return nil
	case err = <-s.fatal:
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", context.Cause(ctx), s.staleBecause(s.now.Load(), monotonic()))
	}
	s.close()
	return fmt.Errorf("following %s: %w", s.cfg.Issuer, err)
}
