package watch_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/watch"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
)

// rejoined is a ledger whose origin is ended after two batches, and which continues with another origin.
type rejoined struct {
	watch.Ledger
	mu      sync.Mutex
	origin  string
	batches map[string][]ledger.CommittedBatch
}

func (r *rejoined) Origin() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.origin
}

func (r *rejoined) Head() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return uint64(len(r.batches[r.origin]))
}

func (r *rejoined) Follow(ctx context.Context, origin string, seq, limit uint64) ([]ledger.CommittedBatch, error) {
	for {
		r.mu.Lock()
		if origin != r.origin && seq == uint64(len(r.batches[origin])) {
			origin, seq = r.origin, 0
		}
		rest := r.batches[origin][seq:]
		r.mu.Unlock()
		if len(rest) > 0 {
			return rest[:min(limit, uint64(len(rest)))], nil
		}
		timer := time.NewTimer(time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *rejoined) commit(origin, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.origin = origin
	b := revocation.Batch{Origin: origin, Seq: uint64(len(r.batches[origin])) + 1, Events: []revocation.Event{{Kind: revocation.KindSID, Value: value}}}
	r.batches[origin] = append(r.batches[origin], ledger.CommittedBatch{Batch: b})
}

func TestBatchesOfABrokersNewOriginAreShown(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		record := &rejoined{Ledger: l.ledger, batches: map[string][]ledger.CommittedBatch{}}
		record.commit("o1", "before")
		record.commit("o1", "before2")
		hub := watch.New(watch.Config{Ledger: record, Broadcast: l.network, Receipts: l.collector, Mono: func() time.Duration { return 0 }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- hub.Run(ctx) }()
		w, err := hub.Watch()
		if err != nil {
			t.Fatal(err)
		}
		record.commit("o1", "last")
		record.commit("o2", "first")
		expect(t, w, "3 last pending", "3 0/0 0 ms", "1 first pending", "1 0/0 0 ms")
		w.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
