package natsfeed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"tokenbroker/revocation"
)

var _ revocation.ReceiptSender = (*gate)(nil)

// refusalLasts is how long after the server refused a receipt the next ones are taken to be
// refused, too. They are sent all the same: the rights may come.
const refusalLasts = 5 * time.Second

// refusal is a receipt that the server did not take. It says so later and out of turn.
type refusal struct {
	err error
	at  time.Time
}

// refusedPublish reports whether the server refused what was published. nats.go tells it from
// a refused subscription by the text alone, too.
func refusedPublish(err error) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), "for Publish to ")
}

func (g *gate) refused(err error) { g.refusal.Store(&refusal{err: err, at: time.Now()}) }

// SendReceipt implements [revocation.ReceiptSender]: it publishes on the subject of the
// service's id, what is before the "/" of its name. That the server refuses it shows in the
// calls after that. It fails with [ErrNotConnected] when there is no link.
func (g *gate) SendReceipt(ctx context.Context, r revocation.Receipt) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	raw, err := revocation.EncodeReceipt(r)
	if err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	id, _, _ := strings.Cut(r.Service, "/")
	if id == "" || strings.Contains(id, ".") {
		return fmt.Errorf("sending a receipt: %q cannot stand in a subject", id)
	}
	if !g.nc.IsConnected() {
		return fmt.Errorf("sending a receipt: %w", g.away.cause())
	}
	if err := g.nc.Publish(revocation.ReceiptSubject+id, raw); err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	if last := g.refusal.Load(); last != nil && time.Since(last.at) < refusalLasts {
		return fmt.Errorf("the server refused a receipt: %w", last.err)
	}
	return nil
}

// What may wait of receipts; beyond it they are dropped, and the next ones tell the same.
const (
	pendingReceipts     = 8192
	pendingReceiptBytes = 8 << 20
)

// Receipts has take called for each receipt that a service publishes, with the id that its
// subject names and, not looked at, its payload, which is then take's. take must not block;
// it is called by one goroutine at a time, until Close. The subscription outlives lost
// connections. Receipts is to be called once.
func (b *Bus) Receipts(take func(id string, raw []byte)) error {
	sub, err := b.nc.Subscribe(revocation.ReceiptSubject+"*", func(m *nats.Msg) {
		take(strings.TrimPrefix(m.Subject, revocation.ReceiptSubject), m.Data)
	})
	if err == nil {
		err = sub.SetPendingLimits(pendingReceipts, pendingReceiptBytes)
	}
	if err != nil {
		return fmt.Errorf("subscribing to receipts: %w", err)
	}
	return nil
}

// Heartbeats has take called for each heartbeat that another process publishes, not verified;
// raw is then take's. take must not block; it is called by one goroutine at a time, until
// Close. The subscription outlives lost connections. Heartbeats is to be called once.
func (b *Bus) Heartbeats(take func(raw []byte)) error {
	_, err := b.nc.Subscribe(revocation.HeartbeatSubject+"*", func(m *nats.Msg) { take(m.Data) })
	if err != nil {
		return fmt.Errorf("subscribing to heartbeats: %w", err)
	}
	return nil
}
