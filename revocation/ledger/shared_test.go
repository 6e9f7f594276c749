package ledger_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// sorted returns the values of an answer's events, which have no order.
func sorted(events []revocation.Event) string {
	v := strings.Fields(values(events))
	slices.Sort(v)
	return strings.Join(v, " ")
}

func TestABrokerOpensWithWhatAllHaveRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.revoke(sid("a1"), sub("u1", 7))
		b.revoke(sid("b1"))
		a.revoke(sid("a2"))
		d := c.join()
		if d.StoreID() != a.StoreID() || d.Origin() == a.Origin() || d.Head() != 0 {
			t.Errorf("store %q, origin %q, head %d", d.StoreID(), d.Origin(), d.Head())
		}
		for _, dead := range []revocation.Subject{{SID: "a1"}, {SID: "a2"}, {SID: "b1"}, {Sub: "u1", SEP: 6}} {
			if !d.denylist.Revoked(dead) {
				t.Errorf("%+v is not revoked", dead)
			}
		}
		if got := a.keys("ledger.event."); got != nil {
			t.Errorf("events are recorded separately: %v", got)
		}
		got := d.answer("")
		want := map[string]uint64{a.Origin(): 2, b.Origin(): 1, d.Origin(): 0}
		if !got.Full || sorted(got.Events) != "a1 a2 b1 u1" || !maps.Equal(headsOf(got), want) || got.Origin != d.Origin() {
			t.Errorf("%+v", got)
		}
	})
}

// TestEveryBrokerAnswersForAll: none of them has followed the others before the request.
func TestEveryBrokerAnswersForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		gone := c.join()
		gone.revoke(sid("g1"))
		gone.revoke(sid("g2"))
		a, b := c.join(), c.join()
		a.revoke(sid("a1"))
		b.revoke(sid("b1"))
		a.revoke(sid("a2"))
		for _, tt := range []struct {
			name, after string
			full        bool
			want        string
		}{
			{"no position", "", true, "a1 a2 b1 g1 g2"},
			{"at the heads", at(gone, 2, a, 2, b, 1), false, ""},
			{"behind one", at(gone, 2, a, 1, b, 1), false, "a2"},
			{"behind another", at(gone, 2, a, 2, b, 0), false, "b1"},
			{"behind an old one", at(gone, 1, a, 2, b, 1), false, "g2"},
			{"not naming one", at(gone, 2, a, 2), false, "b1"},
			{"not naming an old one", at(a, 2, b, 1), false, "g1 g2"},
			{"with an origin that is no longer on record", at(gone, 2, a, 2, b, 1) + ",x.9", false, ""},
			{"ahead of a head", at(gone, 2, a, 3, b, 1), true, "a1 a2 b1 g1 g2"},
			{"without a known origin", "x.1,y.2", true, "a1 a2 b1 g1 g2"},
		} {
			for _, m := range []*member{a, b} {
				got := m.answer(tt.after)
				want := map[string]uint64{gone.Origin(): 2, a.Origin(): 2, b.Origin(): 1}
				// A delta may have more than it must.
				missing := slices.DeleteFunc(strings.Fields(tt.want), func(v string) bool {
					return strings.Contains(" "+values(got.Events)+" ", " "+v+" ")
				})
				if got.Full != tt.full || len(missing) > 0 || !maps.Equal(headsOf(got), want) {
					t.Errorf("%s: full %v, %q, heads %v", tt.name, got.Full, values(got.Events), headsOf(got))
				}
				if tt.after == at(gone, 2, a, 2, b, 1) && len(got.Events) > 0 {
					t.Errorf("%s: %q", tt.name, values(got.Events))
				}
			}
		}
	})
}

func TestABrokerFollowsTheOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		hint   memstore.Fault
		within time.Duration
	}{
		"at a hint":           {memstore.OK, 100 * time.Millisecond},
		"when hints are lost": {memstore.Refuse, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				a, b := c.join(), c.join()
				b.fault = func(op memstore.Op) memstore.Fault {
					if op.Kind == memstore.OpHint {
						return tt.hint
					}
					return memstore.OK
				}
				b.goes()
				time.Sleep(10*time.Second + 50*time.Millisecond)
				for i, value := range []string{"s1", "s2", "s3"} {
					a.revoke(sid(value))
					time.Sleep(tt.within)
					synctest.Wait()
					if !b.denylist.Revoked(revocation.Subject{SID: value}) {
						t.Errorf("batch %d is not in the denylist after %v", i+1, tt.within)
					}
				}
			})
		})
	}
}

func TestHeadsNameTheOriginsThatHaveRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.revoke(sid("a1"))
		a.revoke(sid("a2"))
		for _, m := range []*member{a, b} {
			got, err := m.Heads(t.Context())
			if err != nil || !maps.Equal(got, map[string]uint64{a.Origin(): 2}) || !m.denylist.Revoked(revocation.Subject{SID: "a2"}) {
				t.Errorf("%v, %v", got, err)
			}
		}
	})
	p := start(t, memstore.New(nil)) // without other brokers
	p.revoke(sid("s1"))
	if got, err := p.Heads(t.Context()); err != nil || !maps.Equal(got, map[string]uint64{p.Origin(): 1}) {
		t.Errorf("the only broker: %v, %v", got, err)
	}
}

func TestABarrierWaitsForWhatOthersAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.revoke(sid("s1"))
		if b.denylist.Revoked(revocation.Subject{SID: "s1"}) {
			t.Fatal("this test sees nothing")
		}
		if err := b.Barrier(t.Context()); err != nil || !b.denylist.Revoked(revocation.Subject{SID: "s1"}) {
			t.Errorf("after the barrier: %v", err)
		}
		b.fault = func(memstore.Op) memstore.Fault { return memstore.Refuse }
		if err := b.Barrier(t.Context()); !errors.Is(err, ledger.ErrNoView) {
			t.Errorf("without the engine: %v", err)
		}
	})
}

func TestTheBatchesThatTheMemoryLacksAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.revoke(sid("s1"))
		a.revoke(sid("s2"))
		b.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpList && strings.HasPrefix(op.Key, "ledger.batch.") {
				return memstore.Refuse
			}
			return memstore.OK
		}
		if err := b.Barrier(t.Context()); err == nil || b.Behind() != 2 || a.Behind() != 0 {
			t.Errorf("%v; %d behind, the broker that recorded %d", err, b.Behind(), a.Behind())
		}
		b.fault = nil
		if err := b.Barrier(t.Context()); err != nil || b.Behind() != 0 {
			t.Errorf("%v; %d behind", err, b.Behind())
		}
	})
}

func TestAHeartbeatHasTheHeadsOfAllOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		a.revoke(sid("a1"))
		a.revoke(sid("a2"))
		b.revoke(sid("b1"))
		h, err := b.Heartbeat(t.Context(), "etag")
		want := map[string]uint64{a.Origin(): 2, b.Origin(): 1}
		if err != nil || h.Origin != b.Origin() || h.Head != 1 || !maps.Equal(h.Heads, want) || h.Store != a.StoreID() {
			t.Errorf("%+v, %v", h, err)
		}
	})
}

// TestUpIsReadBeforeTheHeads: what another broker acknowledges while the heads are read is not proved by up.
func TestUpIsReadBeforeTheHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		b.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpList {
				time.Sleep(300 * time.Millisecond)
				a.revoke(sid("s"))
			}
			return memstore.OK
		}
		before := b.Up()
		h, err := b.Heartbeat(t.Context(), "")
		if err != nil || h.Up != before || h.Heads[a.Origin()] != a.Head() {
			t.Errorf("up %d, want %d: %+v, %v", h.Up, before, h, err)
		}
		e, err := b.Answer(t.Context(), "")
		if err != nil || e.Up != before+300 {
			t.Errorf("up %d, want %d: %v", e.Up, before+300, err)
		}
	})
}

func TestABrokerThatCannotReadTheHeadsProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		a.revoke(sid("s1"))
		a.fault = func(memstore.Op) memstore.Fault { return memstore.Refuse }
		if _, err := a.Heartbeat(t.Context(), ""); !errors.Is(err, ledger.ErrNoView) {
			t.Errorf("a heartbeat: %v", err)
		}
		for _, after := range []string{"", at(a, 1), "x.1"} {
			if _, err := a.Answer(t.Context(), after); !errors.Is(err, ledger.ErrNoView) {
				t.Errorf("an answer after %q: %v", after, err)
			}
		}
	})
}

// TestAViewThatTakesTooLongProvesNothing: another broker may reach the engine, so the caller is not kept waiting.
func TestAViewThatTakesTooLongProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		engine := make(chan struct{})
		a.fault = func(memstore.Op) memstore.Fault { <-engine; return memstore.OK }
		slow := make(chan error)
		go func() { slow <- a.Barrier(t.Context()) }()
		synctest.Wait()
		for name, do := range map[string]func() error{
			"a heartbeat": func() error { _, err := a.Heartbeat(t.Context(), ""); return err },
			"an answer":   func() error { _, err := a.Answer(t.Context(), ""); return err },
		} {
			begun := time.Now()
			if err := do(); !errors.Is(err, ledger.ErrNoView) || time.Since(begun) != time.Second {
				t.Errorf("%s after %v: %v", name, time.Since(begun), err)
			}
		}
		close(engine)
		<-slow
	})
}

// TestTheDenylistIsAheadOfTheHead: whoever sees a head also finds what it stands for revoked.
func TestTheDenylistIsAheadOfTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		for _, m := range []*member{a, b} {
			applied := 0
			defer func() {
				if applied == 0 {
					t.Error("this test sees nothing")
				}
			}()
			stop := m.denylist.Watch(func([]revocation.Event) {
				if applied++; m.Seen(a.Origin()) != 0 {
					t.Errorf("the head is %d before its batch is in force", m.Seen(a.Origin()))
				}
			})
			defer stop()
		}
		a.revoke(sid("aaaaaaaaaaaaaaaaaaaaaaaaaa"))
		if err := b.Barrier(t.Context()); err != nil || a.Seen(a.Origin()) != 1 || b.Seen(a.Origin()) != 1 {
			t.Errorf("heads %d and %d, %v", a.Seen(a.Origin()), b.Seen(a.Origin()), err)
		}
	})
}

func TestASilentBrokerProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		b.revoke(sid("s1"))
		ends(t, c, b)
		c.tick()
		if _, err := b.Heartbeat(t.Context(), ""); !errors.Is(err, ledger.ErrSilent) {
			t.Errorf("a heartbeat: %v", err)
		}
		if _, err := b.Answer(t.Context(), ""); !errors.Is(err, ledger.ErrSilent) {
			t.Errorf("an answer: %v", err)
		}
		if _, err := a.Answer(t.Context(), ""); err != nil {
			t.Errorf("an answer of the other: %v", err)
		}
	})
}

// TestABrokerWhoseClockIsWrongIsSilent: of two, the one that joined later.
func TestABrokerWhoseClockIsWrongIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		b.skew = time.Hour
		c.tick()
		if _, err := b.Heartbeat(t.Context(), ""); !errors.Is(err, ledger.ErrSilent) {
			t.Errorf("a heartbeat: %v", err)
		}
		if _, err := b.Answer(t.Context(), ""); !errors.Is(err, ledger.ErrSilent) {
			t.Errorf("an answer: %v", err)
		}
		if _, err := a.Heartbeat(t.Context(), ""); err != nil {
			t.Errorf("a heartbeat of the other: %v", err)
		}
	})
}

// ends ends the origin of a member as another broker does.
func ends(t *testing.T, c *cluster, m *member) {
	t.Helper()
	handle := c.engine.Open(nil)
	key := originKey(m)
	r, err := handle.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	_, errs := handle.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{{
		Key: key, Expect: r.Revision, Value: ended(t, r),
	}}}}, nil)
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
}

func TestServicesThatDoNotSpeak2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		old := c.join()
		old.revoke(sid("o1"))
		a := c.join()
		a.revoke(sid("a1"))
		ask := func(after string) (revocation.Answer, error) {
			e, err := a.EncodedAnswerFor(context.Background(), "c", after, 1, revocation.FormBinary)
			if err != nil {
				return revocation.Answer{}, err
			}
			defer func() { _ = e.Close() }()
			got, err := revocation.DecodeBinaryAnswer(e.Reader())
			return *got, err
		}
		for _, after := range []string{"", at(a, 1)} {
			if _, err := ask(after); !errors.Is(err, ledger.ErrOutdated) {
				t.Errorf("two brokers are live: %v", err)
			}
		}
		ends(t, c, old)
		for after, want := range map[string]string{"": "a1 o1", at(a, 1): "", at(a, 0): "a1", at(old, 1): "a1 o1"} {
			got, err := ask(after)
			if err != nil || !maps.Equal(headsOf(got), map[string]uint64{a.Origin(): 1}) || !strings.Contains(sorted(got.Events), want) {
				t.Errorf("after %q: %q, heads %v, %v", after, sorted(got.Events), headsOf(got), err)
			}
		}
	})
}

// TestFollowingProvesWhatIsKnown: without it, a broker that was asked nothing before the engine failed would know nothing.
func TestFollowingProvesWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		began := time.Now().Add(-time.Duration(a.Up()) * time.Millisecond)
		var away atomic.Bool
		a.fault = func(memstore.Op) memstore.Fault {
			if away.Load() {
				return memstore.Refuse
			}
			return memstore.OK
		}
		a.goes()
		b.goes()
		time.Sleep(time.Hour)
		last := time.Now()
		away.Store(true)
		time.Sleep(time.Minute)
		if behind := last.Sub(began.Add(a.Proved())); behind < 0 || behind > 2*time.Second {
			t.Errorf("proved until %s before the engine failed", behind)
		}
	})
}
