package commit

import (
	"context"
	"time"

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// broadcastWait is how long a use case waits for its message to be sent before it answers
// that the broadcast is pending.
const broadcastWait = 250 * time.Millisecond

// Delivery follows the events of one use case to the services, from before their commit.
type Delivery struct {
	path *Path
	// origin is the broker's origin before the commit.
	origin string
	// receipts is nil when the caller does not wait for receipts; the wait ends at until.
	receipts broker.ReceiptWait
	until    context.Context //nolint:containedctx // of one use case, whose lifetime the Delivery shares
	cancel   context.CancelFunc
}

// ExpectDelivery returns a Delivery of events that are committed after the call. If wait is above zero, services
// are asked for receipts, and [Delivery.Wait] waits for them until wait has passed. The caller must call [Delivery.Close].
func (p *Path) ExpectDelivery(ctx context.Context, wait time.Duration) *Delivery {
	d := &Delivery{path: p, origin: p.cfg.Ledger.Origin()}
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

// Wait waits for a short time until the events recorded at seq are sent, and reports whether they
// were. If the caller waits for receipts, they are the second result.
//
// A seq of zero means that nothing was recorded, because an earlier change had the same effect. The event of that
// change may be on disk but not below the head yet, and another broker may have made it. So Wait first waits for the
// committer's current work and until the own denylist has what any broker has recorded, and then for receipts of all of that.
// It does the same if the broker has taken another origin since [Path.ExpectDelivery], because it is not known of
// which origin seq is. Such events count as not sent. The second result is nil if what is on record is not known, or if there
// are more origins than a receipt can name.
func (d *Delivery) Wait(ctx context.Context, seq uint64) (broadcast bool, receipts *broker.ReceiptSummary) {
	ctx, cancel := context.WithTimeout(ctx, broadcastWait)
	defer cancel()
	ledger := d.path.cfg.Ledger
	heads := map[string]uint64{d.origin: seq}
	same := ledger.Origin() == d.origin
	if seq == 0 || !same {
		_, _, unsettled := d.path.Commit(ctx)
		known, unknown := ledger.Heads(ctx)
		same, seq, heads = same && unsettled == nil && unknown == nil, known[d.origin], known
		if len(heads) > revocation.MaxReceiptOrigins {
			heads = nil
		}
	}
	if d.receipts != nil && heads != nil {
		summary := d.receipts.Applied(d.until, heads)
		receipts = &summary
	}
	return same && d.path.cfg.Broadcast.Flushed(ctx, d.origin, seq), receipts
}

// noReceipts is the wait for a broker without [Config.Receipts].
type noReceipts struct{}

func (noReceipts) Applied(context.Context, map[string]uint64) broker.ReceiptSummary {
	return broker.ReceiptSummary{}
}

func (noReceipts) Done() {}
