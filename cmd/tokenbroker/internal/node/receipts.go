package node

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/broker"
	"tokenbroker/broker/receipts"
	"tokenbroker/revocation"
)

// startReceipts starts the collector of receipts.
func (n *Node) startReceipts() {
	n.setServices(n.cfg.Clients)
	n.receipts = receipts.New(receipts.Config{
		Origin: n.ledger.Origin, Head: n.ledger.Head, Mono: n.mono, Known: func(id string) bool { return n.known.Load().ids[id] },
	})
}

// serviceSet has the clients that may be services. It is read-only.
type serviceSet struct {
	clients map[string]bool // by client id
	ids     map[string]bool // by service id; also those of NATS.Services
}

// setServices sets the confidential ones of clients as services.
func (n *Node) setServices(clients []broker.Client) {
	set := &serviceSet{clients: map[string]bool{}, ids: map[string]bool{}}
	for _, client := range clients {
		if confidential(client) {
			set.clients[client.ID], set.ids[revocation.ServiceID(client.ID)] = true, true
		}
	}
	for id := range n.cfg.NATS.Services {
		set.ids[id] = true
	}
	n.known.Store(set)
}

// SetClients replaces the configured clients. If it returns an error, some of them may be replaced.
func (n *Node) SetClients(ctx context.Context, clients []broker.Client) error {
	if err := n.operators.SetClients(ctx, clients); err != nil {
		return fmt.Errorf("setting the clients: %w", err)
	}
	n.setServices(clients)
	return nil
}

// confidential reports whether the client has a secret, as services have.
func confidential(c broker.Client) bool { return c.Secret != "" || len(c.SecretHash) > 0 }

// subscribeToReceipts subscribes to the receipts over NATS, and to those that services posted to other brokers.
func (n *Node) subscribeToReceipts() error {
	if n.cluster != nil {
		if err := n.bus.Posted(n.takePosted); err != nil {
			return err
		}
	}
	return n.bus.Receipts(n.takeReceipt)
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
			AgeMS: s.Age.Milliseconds(), HeardMS: s.Heard.Milliseconds(), Speaks: s.Speaks,
			Speaker: s.Speaker, SpeakerName: n.cluster.brokerOf(s.Speaker),
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
func (w receiptWait) Applied(ctx context.Context, heads map[string]uint64) broker.ReceiptSummary {
	return w.collector.AppliedSince(ctx, w.since, heads)
}

// Done implements [broker.ReceiptWait].
func (w receiptWait) Done() { w.done() }
