package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/receipts"
	"tokenbroker/revocation"
)

// startReceipts starts the collector of receipts. The caller subscribes to those over NATS.
func (n *Node) startReceipts() {
	known := map[string]bool{}
	for _, client := range n.cfg.Clients {
		if client.Secret != "" || len(client.SecretHash) > 0 { // services have one
			known[revocation.ServiceID(client.ID)] = true
		}
	}
	for id := range n.cfg.NATS.Services {
		known[id] = true
	}
	n.receipts = receipts.New(receipts.Config{
		Origin: n.ledger.Origin(), Head: n.ledger.Head, Mono: n.mono, Known: func(id string) bool { return known[id] },
	})
}

// takeReceipt takes a receipt that came over NATS. Its sender is not notified of a refusal, which is counted.
func (n *Node) takeReceipt(id string, raw []byte) {
	if err := n.receipts.Take(receipts.NATS+id, raw); err != nil {
		n.cfg.Logger.Debug("a receipt was refused", "source", receipts.NATS+id, "error", err)
	}
}

// services returns the services that sent receipts, for the status.
func (n *Node) services() []admin.ServiceStatus {
	list := []admin.ServiceStatus{}
	for _, s := range n.receipts.Services() {
		list = append(list, admin.ServiceStatus{
			Service: s.Service, Source: s.Source, State: serviceState(s), Awaited: s.Awaited, Applied: s.Applied, Lag: s.Lag,
			AgeMS: s.Age.Milliseconds(), HeardMS: s.Heard.Milliseconds(),
		})
	}
	return list
}

// serviceState returns fresh, stale or silent.
func serviceState(s receipts.Service) string {
	switch {
	case s.Silent():
		return "silent"
	case s.Fresh:
		return "fresh"
	}
	return "stale"
}

// postedReceipts takes receipts that come over HTTP.
type postedReceipts struct {
	collector *receipts.Collector
	logger    *slog.Logger
}

var _ feed.Receipts = postedReceipts{}

// receiptsLater is the Retry-After of a service for which there is no room.
const receiptsLater = time.Minute

// Receipt implements [feed.Receipts].
func (p postedReceipts) Receipt(client string, raw []byte) error {
	err := p.collector.Take(receipts.HTTP+client, raw)
	switch {
	case errors.Is(err, receipts.ErrFull):
		return &broker.Error{Code: broker.CodeBusy, Message: "Too many services send receipts.", RetryAfter: receiptsLater, Err: err}
	case err != nil:
		p.logger.Debug("a receipt was refused", "source", receipts.HTTP+client, "error", err)
		return &broker.Error{Code: httpapi.CodeInvalidBody, Message: "the body is not a receipt of this client's service, or is ahead of this broker", Err: err}
	}
	return nil
}

// awaitedReceipts implements [broker.Receipts].
type awaitedReceipts struct {
	collector *receipts.Collector
	mono      func() time.Duration
}

var _ broker.Receipts = awaitedReceipts{}

// Expect implements [broker.Receipts].
func (a awaitedReceipts) Expect() broker.ReceiptWait {
	return receiptWait{collector: a.collector, since: a.mono(), done: a.collector.Expect()}
}

type receiptWait struct {
	collector *receipts.Collector
	since     time.Duration
	done      func()
}

// Applied implements [broker.ReceiptWait].
func (w receiptWait) Applied(ctx context.Context, seq uint64) broker.ReceiptSummary {
	return w.collector.AppliedSince(ctx, w.since, seq)
}

// Done implements [broker.ReceiptWait].
func (w receiptWait) Done() { w.done() }
