package validator

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"time"

	"tokenbroker/revocation"
)

const (
	receiptEvery   = time.Second
	receiptTimeout = 2 * time.Second
	// receiptSpacing is the minimum time between two receipts: of a burst only the newest is sent.
	receiptSpacing = 10 * time.Millisecond
)

// validServiceID reports whether id can be a token of a NATS subject, as in that of a receipt.
func validServiceID(id string) bool { return id != "" && id == revocation.ServiceID(id) }

// receiptName returns a name that no other process of the service has.
func receiptName(id string) string { return id + "/" + strings.ToLower(rand.Text()[:8]) }

// reporter sends receipts in its own goroutine: one at a time, always the newest.
// What is not sent in time is dropped; the syncer's owner does not wait for it.
type reporter struct {
	sender  revocation.ReceiptSender
	service string
	log     *slog.Logger
	counts  *feedCounts
	next    chan revocation.Receipt // the newest that was not sent
	done    chan struct{}           // closed when run has ended
}

func newReporter(sender revocation.ReceiptSender, service string, counts *feedCounts, log *slog.Logger) *reporter {
	return &reporter{
		sender: sender, service: service, counts: counts, log: log,
		next: make(chan revocation.Receipt, 1), done: make(chan struct{}),
	}
}

// offer replaces the receipt that waits. Only the owner calls it, so it never blocks.
func (r *reporter) offer(receipt revocation.Receipt) {
	select {
	case <-r.next:
	default:
	}
	r.next <- receipt
}

// run sends until ctx ends.
func (r *reporter) run(ctx context.Context) {
	defer close(r.done)
	pause := time.NewTimer(0)
	defer pause.Stop()
	failing := false
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		var receipt revocation.Receipt
		select {
		case receipt = <-r.next:
		case <-ctx.Done():
			return
		}
		err := r.send(ctx, receipt)
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			r.logChange(err)
		}
		pause.Reset(receiptSpacing)
	}
}

func (r *reporter) send(ctx context.Context, receipt revocation.Receipt) error {
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	if err := r.sender.SendReceipt(ctx, receipt); err != nil {
		r.counts.failedReceipts.Add(1)
		return err
	}
	r.counts.receipts.Add(1)
	return nil
}

func (r *reporter) logChange(err error) {
	log := r.log.With("sent_as", r.service)
	if err == nil {
		log.Info("receipts are sent again")
		return
	}
	log.Warn("receipts cannot be sent: the broker does not list this service, and ?wait does not wait for it", "error", err)
}

// report sends the broker which events this service has applied, once it is ready. The owner calls it each
// tick, and with atOnce when a receipt is requested.
func (s *syncer) report(atOnce bool) {
	now := monotonic()
	if s.reporter == nil || !s.isReady || !atOnce && now-s.reportedAt < receiptEvery {
		return
	}
	s.reportedAt = now
	v := s.now.Load()
	receipt := revocation.Receipt{
		V: revocation.Version, Service: s.reporter.service, Applied: s.tracker.Applied(), Speaks: revocation.Speaks,
		Fresh: v.fresh(now, s.cfg.MaxStaleness), AgeMS: max(0, (now - v.asOf).Milliseconds()), Speaker: v.speaker,
	}
	s.progress = s.progress.update(receipt.Applied, now)
	receipt.LimitApplied(s.progress.compare)
	s.reporter.offer(receipt)
}

// progress has, for each origin, what a service has applied of it and since when. A broker waits for a batch that was
// just committed, so a receipt that cannot name every origin names those that advanced most recently.
type progress map[string]advance

type advance struct {
	seq   uint64
	since time.Duration
}

// update returns the progress at the monotonic time now.
func (p progress) update(applied map[string]uint64, now time.Duration) progress {
	next := make(progress, len(applied))
	for origin, seq := range applied {
		last, known := p[origin]
		if !known || seq != last.seq {
			last = advance{seq: seq, since: now}
		}
		next[origin] = last
	}
	return next
}

// compare orders origins by how recently they advanced, the most recent first.
func (p progress) compare(a, b string) int { return cmp.Compare(p[b].since, p[a].since) }
