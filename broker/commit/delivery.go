package commit

import (
	"context"
	"time"

	"tokenbroker/broker"
)

// broadcastWait is how long a use case waits for its message to be sent before it answers
// that the broadcast is pending.
const broadcastWait = 250 * time.Millisecond

// Delivery follows the events of one use case to the services, from before their commit.
type Delivery struct {
	path *Path
	// receipts is nil when the caller does not wait for receipts; the wait ends at until.
	receipts broker.ReceiptWait
	until    context.Context //nolint:containedctx // one use case's, which it does not outlive
	cancel   context.CancelFunc
}

// ExpectDelivery begins to follow events that are committed after it. With a wait above zero, services
// are asked for receipts, and [Delivery.Wait] waits for those until wait has passed. The caller has to Close it.
func (p *Path) ExpectDelivery(ctx context.Context, wait time.Duration) *Delivery {
	d := &Delivery{path: p}
	if wait > 0 {
		d.receipts = noReceipts{}
		if p.cfg.Receipts != nil {
			d.receipts = p.cfg.Receipts.Expect()
		}
		d.until, d.cancel = context.WithTimeout(ctx, wait)
	}
	return d
}

// Close ends the wait for receipts.
func (d *Delivery) Close() {
	if d.receipts != nil {
		d.cancel()
		d.receipts.Done()
	}
}

// Wait waits for a short time until what was recorded at seq is sent, and reports whether it
// was. Where the caller waits for receipts, they are the second result.
// A seq of zero means that nothing was recorded, because of an earlier change whose event may be on its
// way. That may be on disk and not below the head yet: the committer has to end what it began.
func (d *Delivery) Wait(ctx context.Context, seq uint64) (broadcast bool, receipts *broker.ReceiptSummary) {
	ctx, cancel := context.WithTimeout(ctx, broadcastWait)
	defer cancel()
	settled := true
	if seq == 0 {
		_, _, err := d.path.Commit(ctx)
		settled, seq = err == nil, d.path.cfg.Ledger.Head()
	}
	if d.receipts != nil {
		summary := d.receipts.Applied(d.until, seq)
		receipts = &summary
	}
	return settled && d.path.cfg.Broadcast.Flushed(ctx, seq), receipts
}

// noReceipts is the wait for a broker without [Config.Receipts].
type noReceipts struct{}

func (noReceipts) Applied(context.Context, uint64) broker.ReceiptSummary {
	return broker.ReceiptSummary{}
}

func (noReceipts) Done() {}
