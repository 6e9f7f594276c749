package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// try commits an event as the committer does, without a call of Committed if the commit fails.
func (m *member) try(ctx context.Context, e revocation.Event) error {
	err := m.run.Commit(ctx, []store.Change{{Events: []revocation.Event{e}}}, m.Seal)[0]
	if err == nil {
		m.Committed()
	}
	return err
}

func TestAFencedBrokerGoesOnWithANewOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		network := &bus{}
		hub(t, b.process, network)
		b.revoke(sid("b1"))
		synctest.Wait()
		old := at(b, 1)
		ends(t, c, b)
		if err := b.try(t.Context(), sid("b2")); !errors.Is(err, store.ErrFenced) {
			t.Fatalf("a commit of the ended origin: %v", err)
		}
		if err := b.Rejoin(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.tick()
		if old == at(b, 1) || b.Head() != 0 {
			t.Fatalf("%s, then %s", old, at(b, 1))
		}
		if seq := b.revoke(sid("b3")); seq != 1 {
			t.Errorf("the first batch of the new origin is %d", seq)
		}
		synctest.Wait()
		if got := network.seqs(); got != "1 1" {
			t.Errorf("published %q", got)
		}
		a.revoke(sid("a1"))
		for _, m := range []*member{a, b} {
			got := m.answer(old + "," + at(a, 0, b, 0)) // a delta may have more than it must
			if all := sorted(got.Events); got.Full || !strings.Contains(all, "a1") || !strings.Contains(all, "b3") {
				t.Errorf("after the ended origin: full %v, %q", got.Full, all)
			}
			if got := sorted(m.answer("").Events); got != "a1 b1 b3" {
				t.Errorf("in full: %q", got)
			}
		}
	})
}

// TestABatchWhoseCommitWasUncertainIsInForce: its caller was told that nothing is known.
func TestABatchWhoseCommitWasUncertainIsInForce(t *testing.T) {
	for name, find := range map[string]func(*member) error{
		"by following":       func(m *member) error { return m.Barrier(m.t.Context()) },
		"by the next commit": func(m *member) error { return m.try(m.t.Context(), sid("s2")) },
		"by an answer":       func(m *member) error { _, err := m.Answer(m.t.Context(), ""); return err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.join()
				a.loses(sid("s1"))
				if err := find(a); err != nil {
					t.Fatal(err)
				}
				if !a.denylist.Revoked(revocation.Subject{SID: "s1"}) || a.Head() < 1 {
					t.Errorf("head %d, and what was committed is not in force", a.Head())
				}
				head := a.Head()
				if seq := a.revoke(sid("last")); seq != head+1 {
					t.Errorf("batch %d after head %d", seq, head)
				}
				if heads := headsOf(a.answer("")); !maps.Equal(heads, map[string]uint64{a.Origin(): head + 1}) {
					t.Errorf("heads %v", heads)
				}
			})
		})
	}
}

// loses records an event in a commit whose caller leaves before it is settled.
func (m *member) loses(event revocation.Event) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	m.fault = func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpCommit && ctx.Err() == nil {
			cancel()
			return memstore.LoseAnswer
		}
		return memstore.OK
	}
	if err := m.try(ctx, event); !errors.Is(err, store.ErrUncertain) {
		m.t.Fatalf("a lost answer: %v", err)
	}
}

// TestTheReadOfAnUncertainBatchIsBounded: other commits wait for the seal that makes it.
func TestTheReadOfAnUncertainBatchIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		a.loses(sid("s1"))
		a.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpGet && strings.HasPrefix(op.Key, "ledger.batch.") {
				time.Sleep(time.Minute)
			}
			return memstore.OK
		}
		if err := a.try(t.Context(), sid("s2")); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a read that takes too long: %v", err)
		}
		a.fault = nil
		if err := a.try(t.Context(), sid("s2")); err != nil {
			t.Fatal(err)
		}
		if got := a.answer(""); sorted(got.Events) != "s1 s2" || headsOf(got)[a.Origin()] != 2 {
			t.Errorf("%q, heads %v", values(got.Events), headsOf(got))
		}
	})
}

// TestALostCommitIsMadeAgain: settling finds that the batch was not written, and its number is used again.
func TestALostCommitIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		lost := false
		a.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpCommit && !lost {
				lost = true
				return memstore.Keep
			}
			return memstore.OK
		}
		if err := a.try(t.Context(), sid("s1")); err != nil {
			t.Fatal(err)
		}
		c.engine.Retransmit()
		if got := b.answer(""); values(got.Events) != "s1" || headsOf(got)[a.Origin()] != 1 || a.Head() != 1 {
			t.Errorf("%q, heads %v", values(got.Events), headsOf(got))
		}
	})
}

// TestBatchesOfAnEndedBrokerAreFollowed: it recorded them and died before it could publish.
func TestBatchesOfAnEndedBrokerAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		b.goes()
		time.Sleep(time.Second)
		if err := a.run.Commit(t.Context(), []store.Change{{Events: []revocation.Event{sid("s1")}}}, a.Seal)[0]; err != nil {
			t.Fatal(err) // it does not get as far as Committed
		}
		ends(t, c, a)
		time.Sleep(time.Second)
		synctest.Wait()
		h, err := b.Heartbeat(t.Context(), "")
		if !b.denylist.Revoked(revocation.Subject{SID: "s1"}) || err != nil || h.Heads[a.Origin()] != 1 {
			t.Errorf("%+v, %v", h, err)
		}
	})
}

// TestFollowGoesOnWithTheNewOrigin: its numbers start at 1 again.
func TestFollowGoesOnWithTheNewOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		old := a.Origin()
		for _, value := range []string{"s1", "s2", "s3"} {
			a.revoke(sid(value))
		}
		ends(t, c, a)
		c.tick()
		if err := a.Rejoin(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.tick()
		a.revoke(sid("n1"))
		for seq, want := range map[uint64]string{2: old + ".3", 3: a.Origin() + ".1"} {
			batches, err := a.Follow(t.Context(), old, seq, 16)
			if err != nil || len(batches) != 1 || batches[0].Origin+"."+fmt.Sprint(batches[0].Seq) != want {
				t.Errorf("after batch %d of the old origin: %+v, %v, want %s", seq, batches, err, want)
			}
		}
	})
}
