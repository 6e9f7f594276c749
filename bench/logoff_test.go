package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// BenchmarkLogOffToDenylist measures broker.LogOff until the session is on disk and in the broker's
// own denylist, from 64 concurrent clients and from one. The sign-ins before are not measured. A
// log-off from one client is compared with a transaction of its own.
func BenchmarkLogOffToDenylist(b *testing.B) {
	b.Run("64-at-once", func(b *testing.B) {
		r := newRig(b, nil)
		work, each := r.logOff(b, b.N), transactionEach(b, r)
		measure(b, clients, work, peer{name: "transaction-each", work: each, share: 5})
	})
	b.Run("one-by-one", func(b *testing.B) {
		r := newRig(b, nil)
		work, each := r.logOff(b, b.N), transactionEach(b, r)
		measure(b, 1, work, peer{name: "transaction-each", work: each, share: 1})
	})
}

// logOff signs in count sessions and returns the work of ending one of them.
func (r *rig) logOff(tb testing.TB, count int) func(int) error {
	tb.Helper()
	grants := r.signIn(tb, count)
	var next atomic.Int64
	return func(int) error {
		grant := grants[next.Add(1)-1]
		off, err := r.LogOff(context.Background(), grant.RefreshToken, grant.CSRFToken, broker.Request{})
		if err != nil {
			return err
		}
		if !off.Ended || !r.denylist.Revoked(revocation.Subject{SID: grant.SID}) {
			return fmt.Errorf("after a log-off: ended %v, and the denylist does not contain the session", off.Ended)
		}
		return nil
	}
}
