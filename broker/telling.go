package broker

import "context"

// ReceiptSummary says how many of the services that are heard of have applied a revocation.
type ReceiptSummary struct {
	Applied int `json:"applied"`
	Of      int `json:"of"`
	// SlowestMS is what passed, in milliseconds, from the request until the last of those that
	// have applied it said so.
	SlowestMS int64 `json:"slowest_ms"`
	// Laggards are the others by name; of very many the first.
	Laggards []string `json:"laggards,omitempty"`
}

// telling is how the services hear of what a use case ends, from before its commit on.
type telling struct {
	b *Broker
	// wait is nil when the caller does not want to know; it ends at until.
	wait  ReceiptWait
	until context.Context //nolint:containedctx // one use case's, which it does not outlive
	done  func()
}

// telling begins, before the commit; the caller has to call done.
func (b *Broker) telling(ctx context.Context, req Request) *telling {
	t := &telling{b: b, done: func() {}}
	if req.Wait > 0 {
		t.wait = noReceipts{}
		if b.cfg.Receipts != nil {
			t.wait = b.cfg.Receipts.Expect()
		}
		until, cancel := context.WithTimeout(ctx, req.Wait)
		t.until, t.done = until, func() { cancel(); t.wait.Done() }
	}
	return t
}

// services waits, for a while, until what was recorded at seq is sent, and reports whether it
// was; where the caller wants to wait longer for the receipts, they are the second result.
// A seq of zero: nothing was recorded, because of an earlier change, whose event may be on its
// way. That may be on disk and not below the head yet: what the committer began, it has to end first.
func (t *telling) services(ctx context.Context, seq uint64) (broadcast bool, receipts *ReceiptSummary) {
	b := t.b
	ctx, cancel := context.WithTimeout(ctx, broadcastWait)
	defer cancel()
	settled := true
	if seq == 0 {
		_, err := b.committer.Ask(ctx, commitRequest{})
		settled, seq = err == nil, b.cfg.Ledger.Head()
	}
	if t.wait != nil {
		summary := t.wait.Applied(t.until, seq)
		receipts = &summary
	}
	return settled && b.cfg.Broadcast.Flushed(ctx, seq), receipts
}

// revoked completes the answer to what was recorded at seq.
func (t *telling) revoked(ctx context.Context, answer Revoked, seq uint64) Revoked {
	answer.Broadcast, answer.ReceiptSummary = t.services(ctx, seq)
	return answer
}

// noReceipts is for a broker whose services tell nothing.
type noReceipts struct{}

func (noReceipts) Applied(context.Context, uint64) ReceiptSummary { return ReceiptSummary{} }
func (noReceipts) Done()                                          {}
