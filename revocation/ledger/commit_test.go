package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

func TestARevocationIsOneTransactionWithItsChange(t *testing.T) {
	s := memstore.New(nil)
	p := start(t, s)
	before := s.Commits()
	change := store.Change{
		Writes: []store.Write{{Key: "session.u.s", Value: []byte("tombstone")}},
		Events: []revocation.Event{sid("s")},
	}
	if err := s.Commit(t.Context(), []store.Change{change}, p.Seal)[0]; err != nil {
		t.Fatal(err)
	}
	if s.Commits() != before+1 {
		t.Errorf("%d transactions", s.Commits()-before)
	}
	if p.Head() != 0 || p.denylist.Revoked(revocation.Subject{SID: "s"}) {
		t.Error("the event counts before it is known to be on disk")
	}
	if seq := p.Committed(); seq != 1 || p.Head() != 1 {
		t.Errorf("head %d, %d", seq, p.Head())
	}
	if !p.denylist.Revoked(revocation.Subject{SID: "s"}) {
		t.Error("the own denylist does not have it")
	}
	if seq := p.Committed(); seq != 1 {
		t.Errorf("Committed without a Seal moved the head to %d", seq)
	}
	want := []string{"ledger.batch." + p.Origin() + ".0000000000000001", "ledger.event.sid.s", "ledger.store"}
	if diff := cmp.Diff(want, p.keys("ledger.")); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestASealWhoseCommitFailedIsSuperseded(t *testing.T) {
	engines(t, func(t *testing.T, s store.Store) {
		p := start(t, s)
		failed := errors.New("failed")
		seal := func(events []revocation.Event) ([]store.Write, error) {
			_, err := p.Seal(events)
			return nil, errors.Join(err, failed)
		}
		if err := s.Commit(t.Context(), []store.Change{{Events: []revocation.Event{sid("lost")}}}, seal)[0]; !errors.Is(err, failed) {
			t.Fatal(err)
		}
		if seq := p.revoke(sid("kept")); seq != 1 {
			t.Errorf("head %d", seq)
		}
		if p.denylist.Revoked(revocation.Subject{SID: "lost"}) || !p.denylist.Revoked(revocation.Subject{SID: "kept"}) {
			t.Error("the denylist has the wrong one")
		}
		if diff := cmp.Diff([]revocation.Event{sid("kept")}, p.answer("").Events); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}

func TestTheStrongestEventOfAKindAndValueIsKept(t *testing.T) {
	event := func(at, end, epoch int64) revocation.Event {
		return revocation.Event{Kind: revocation.KindSub, Value: "u", At: at, ExpiresAt: end, Epoch: epoch}
	}
	for _, tt := range []struct {
		name           string
		old, new, want revocation.Event
	}{
		{"the same again", event(10, 50, 1), event(10, 50, 1), event(10, 50, 1)},
		{"a higher epoch", event(10, 50, 1), event(20, 60, 2), event(10, 60, 2)},
		{"a higher epoch that ends sooner", event(10, 50, 1), event(20, 40, 2), event(10, 50, 2)},
		{"a lower epoch that ends later", event(10, 50, 3), event(20, 70, 2), event(10, 70, 3)},
		{"a weaker one", event(10, 50, 3), event(20, 40, 2), event(10, 50, 3)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, together := range []bool{false, true} {
				p := start(t, memstore.New(nil))
				if together {
					p.revoke(tt.old, tt.new)
				} else {
					p.revoke(tt.old)
					p.revoke(tt.new)
				}
				if diff := cmp.Diff([]revocation.Event{tt.want}, p.answer("").Events); diff != "" {
					t.Errorf("together=%v (-want +got):\n%s", together, diff)
				}
			}
		})
	}
}

func TestLimitsOfABatch(t *testing.T) {
	p := start(t, memstore.New(nil))
	many := make([]revocation.Event, revocation.MaxBatchEvents+1)
	for i := range many {
		many[i] = sid(fmt.Sprint("s", i))
	}
	if _, err := p.Seal(many); !errors.Is(err, store.ErrTooBig) {
		t.Errorf("%d events: %v", len(many), err)
	}
	long := make([]revocation.Event, 6)
	for i := range long {
		long[i] = sid(fmt.Sprint(i, strings.Repeat("x", 100<<10)))
	}
	if _, err := p.Seal(long); !errors.Is(err, store.ErrTooBig) {
		t.Errorf("600 KiB: %v", err)
	}
	// Repetitions of one event count once.
	many[0] = many[1]
	if seq := p.revoke(many...); seq != 1 {
		t.Errorf("head %d", seq)
	}
	if n := len(p.answer("").Events); n != revocation.MaxBatchEvents {
		t.Errorf("%d events recorded", n)
	}
}

func TestMalformedEventsAreRefused(t *testing.T) {
	p := start(t, memstore.New(nil))
	for name, event := range map[string]revocation.Event{
		"no value":      sid(""),
		"all, a value":  {Kind: revocation.KindAll, Value: "x", At: 1, ExpiresAt: 2},
		"unknown kind":  {Kind: "moon", Value: "x", At: 1, ExpiresAt: 2},
		"ends too soon": {Kind: revocation.KindSID, Value: "x", At: 3, ExpiresAt: 2},
		"before 1970":   {Kind: revocation.KindSID, Value: "x", At: -3, ExpiresAt: 2},
		"epoch below 0": {Kind: revocation.KindSub, Value: "x", At: 1, ExpiresAt: 2, Epoch: -1},
	} {
		if writes, err := p.Seal([]revocation.Event{sid("good"), event}); err == nil {
			t.Errorf("%s: sealed %v", name, writes)
		}
	}
}

func TestOddValuesHaveDifferentKeys(t *testing.T) {
	p := start(t, memstore.New(nil))
	values := []string{"a", "A", "a.b", "a/b", "~a", " ", "ü", strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 5000)}
	for _, v := range values {
		p.revoke(sid(v))
	}
	p.revoke(revocation.Event{Kind: revocation.KindAll, At: 1, ExpiresAt: 2, Epoch: 3})
	if got := len(p.keys("ledger.event.")); got != len(values)+1 {
		t.Errorf("%d records: %v", got, p.keys("ledger.event."))
	}
	again := start(t, p.store)
	for _, v := range values {
		if !again.denylist.Revoked(revocation.Subject{SID: v, SEP: 9}) {
			t.Errorf("%.20q is not revoked after a restart", v)
		}
	}
}
