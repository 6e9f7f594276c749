package ledger_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/memstore"
)

var byOperator = broker.Request{Operator: "uid 1000"}

// jtis returns n of them, starting at number first.
func jtis(first, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("01890000-0000-7000-8000-%012d", first+i)
	}
	return values
}

// surround has the parts of a broker that these tests do not use.
type surround struct{ commits atomic.Int64 }

func (*surround) Flushed(context.Context, string, uint64) bool { return true }
func (s *surround) Committed(int, []revocation.Event)          { s.commits.Add(1) }
func (*surround) Hash(_ context.Context, plain string) (string, error) {
	return "hashed " + plain, nil
}
func (*surround) Verify(context.Context, password.Caller, string, string) (ok, rehash bool, err error) {
	return false, false, nil
}
func (*surround) VerifyUnknown(context.Context, password.Caller, string) error { return nil }

// brokerOn returns a broker on the store with a ledger of it, whose denylist it shares.
func brokerOn(t testing.TB, s store.Store) (*brokertest.Broker, *ledger.Ledger, *surround) {
	t.Helper()
	deny, others := revocation.NewDenylist(), &surround{}
	book, err := ledger.Open(t.Context(), ledger.Config{Store: s, Denylist: deny})
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.Wire(brokertest.Config{
		Store: s, Ledger: book, Broadcast: others, Denylist: deny, Clock: book, Passwords: others, Observer: others,
		Policy: session.Policy{AccessLife: 5 * time.Minute, Idle: time.Hour, Absolute: time.Hour},
		Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	})
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b, book, others
}

// TestLedgerKeepsTheStrongestOfRepeatedRevocations checks that repeated revocations leave one record each.
func TestLedgerKeepsTheStrongestOfRepeatedRevocations(t *testing.T) {
	b, book, _ := brokerOn(t, memstore.New(nil))
	if err := b.PutClient(t.Context(), broker.Client{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	user, err := b.AddUser(t.Context(), operator.NewUser{Username: "ada", Password: "lovelace"}, byOperator)
	if err != nil {
		t.Fatal(err)
	}
	jti := jtis(0, 1)[0]
	last := map[string]int64{}
	for range 3 {
		for _, revoke := range []func() (operator.Revoked, error){
			func() (operator.Revoked, error) { return b.RevokeClient(t.Context(), "c", "", byOperator) },
			func() (operator.Revoked, error) { return b.RevokeUser(t.Context(), "ada", "", byOperator) },
			func() (operator.Revoked, error) { return b.RevokeEverybody(t.Context(), "", byOperator) },
			func() (operator.Revoked, error) { return b.RevokeToken(t.Context(), jti, "", byOperator) },
		} {
			done, err := revoke()
			if err != nil {
				t.Fatal(err)
			}
			last[done.Kind] = done.Epoch
		}
	}
	events, next, err := book.List(t.Context(), "", 100)
	if err != nil || next != "" || len(events) != 4 {
		t.Fatalf("%+v, %v", events, err)
	}
	for _, e := range events {
		if e.Epoch != last[string(e.Kind)] {
			t.Errorf("%+v, want the epoch %d", e, last[string(e.Kind)])
		}
	}
	for _, ask := range []struct {
		kind  revocation.Kind
		value string
		seq   uint64
	}{{"jti", jti, 4}, {"", jti, 4}, {"client", "c", 8}, {"sub", "ada", 9}, {"sub", user.UID, 9}, {"all", "", 10}} {
		check, err := b.CheckRevocation(t.Context(), ask.kind, ask.value)
		if err != nil || !check.Revoked || len(check.Events) != 1 || check.Events[0].Seq != ask.seq || check.Events[0].Origin != book.Origin() {
			t.Errorf("%s %q: %+v, %v", ask.kind, ask.value, check, err)
		}
	}
}

// BenchmarkBulkRevocation revokes tokens, 1,000 per request, with four concurrent requests and a store on
// disk.
func BenchmarkBulkRevocation(b *testing.B) {
	disk, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = disk.Close() })
	br, _, others := brokerOn(b, disk)
	var next atomic.Int64
	b.SetParallelism(2) // 4 on two cores
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			values := jtis(int(next.Add(operator.MaxBulkRevocation)), operator.MaxBulkRevocation)
			done, err := br.RevokeBulk(context.Background(), operator.BulkRevocation{Kind: revocation.KindJTI, Values: values}, byOperator)
			if err != nil || done.Changed != len(values) {
				b.Errorf("%+v, %v", done, err)
			}
		}
	})
	events := float64(next.Load())
	b.ReportMetric(events/b.Elapsed().Seconds(), "revocations/s")
	b.ReportMetric(events/float64(others.commits.Load()), "events/commit")
}
