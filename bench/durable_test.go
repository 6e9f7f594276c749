package bench

import (
	"context"
	"fmt"
	"testing"

	"tokenbroker/broker"
)

// atOnce returns the numbers of clients with which the durable operations are measured.
func atOnce() []int {
	if testing.Short() {
		return []int{1, 8}
	}
	return []int{1, 8, 64, 256}
}

// BenchmarkDurableRevocations measures broker.LogOff, on disk and in the broker's own denylist,
// from several clients at once, compared with a plain append with fdatasync and with one Badger
// transaction for each log-off.
func BenchmarkDurableRevocations(b *testing.B) {
	benchDurable(b, func(b *testing.B, r *rig, _ int) func(int) error { return r.logOff(b, b.N) })
}

// BenchmarkDurableRefreshes measures broker.Refresh in the same way.
func BenchmarkDurableRefreshes(b *testing.B) {
	benchDurable(b, func(b *testing.B, r *rig, clients int) func(int) error { return r.refreshEach(b, clients) })
}

func benchDurable(b *testing.B, prepare func(b *testing.B, r *rig, clients int) func(int) error) {
	b.Helper()
	for _, n := range atOnce() {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			r := newRig(b, nil)
			work := prepare(b, r, n)
			share := min(max(n/8, 1), 8)
			measure(b, n, work,
				peer{name: "append-and-sync", work: appendAndSync(b, r), share: share},
				peer{name: "transaction-each", work: transactionEach(b, r), share: share})
		})
	}
}

// refreshEach signs in the given number of sessions and returns the work of refreshing each
// client's own sessions.
func (r *rig) refreshEach(tb testing.TB, count int) func(client int) error {
	tb.Helper()
	grants := r.signIn(tb, count)
	return func(client int) error {
		grant, err := r.Refresh(context.Background(), grants[client].RefreshToken, grants[client].CSRFToken, broker.Request{})
		if err == nil {
			grants[client] = grant
		}
		return err
	}
}
