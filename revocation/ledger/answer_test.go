package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

func values(events []revocation.Event) string {
	var v []string
	for _, e := range events {
		v = append(v, e.Value)
	}
	return strings.Join(v, " ")
}

func TestARestartKeepsStoreAndEvents(t *testing.T) {
	engines(t, func(t *testing.T, s store.Store) {
		first := start(t, s)
		first.revoke(sid("s1"))
		first.revoke(sub("u1", 7), sid("s2"))
		second := start(t, s, func(c *ledger.Config) { c.Kids = func() []string { return []string{"k1"} } })
		if second.StoreID() != first.StoreID() || len(second.StoreID()) != 26 {
			t.Errorf("store %q, then %q", first.StoreID(), second.StoreID())
		}
		if second.Origin() == first.Origin() || strings.Contains(second.Origin(), ".") {
			t.Errorf("origin %q, then %q", first.Origin(), second.Origin())
		}
		if second.Head() != 0 {
			t.Errorf("head %d", second.Head())
		}
		for _, dead := range []revocation.Subject{{SID: "s1"}, {SID: "s2"}, {Sub: "u1", SEP: 6}, {KID: "k1"}} {
			if !second.denylist.Revoked(dead) {
				t.Errorf("%+v is not revoked", dead)
			}
		}
		if second.denylist.Revoked(revocation.Subject{SID: "s3", Sub: "u1", SEP: 7}) {
			t.Error("too much is revoked")
		}
		// What ended processes recorded is among the events.
		if got := values(second.answer(second.Origin() + ".0").Events); got != "" {
			t.Errorf("a delta from the start: %q", got)
		}
		if got := values(second.answer("").Events); got != "s1 s2 u1" {
			t.Errorf("a full answer: %q", got)
		}
	})
}

func TestAnUnreadableLedgerDoesNotOpen(t *testing.T) {
	for key, value := range map[string]string{
		"ledger.store":        `{"v":2,"id":"x"}`,
		"ledger.time_floor":   `{"v":2}`,
		"ledger.event.sid.s1": `{"v":1,`,
		"ledger.event.sid.s2": `{"v":2}`,
	} {
		s := memstore.New(nil)
		start(t, s)
		w := store.Write{Key: key, Value: []byte(value), Blind: true}
		if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
			t.Fatal(err)
		}
		_, err := ledger.Open(t.Context(), ledger.Config{Store: s, Denylist: revocation.NewDenylist()})
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	engines(t, func(t *testing.T, s store.Store) {
		old := start(t, s)
		old.revoke(sid("s0"))
		p := start(t, s)
		for i := 1; i <= 3; i++ {
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		for _, tt := range []struct {
			name, after string
			full        bool
			want        string
		}{
			{"no position", "", true, "s0 s1 s2 s3"},
			{"the start of the live origin is known", "O.0", false, "s1 s2 s3"},
			{"after a batch", "O.2", false, "s3"},
			{"at the head", "O.3", false, ""},
			{"beyond the head", "O.4", true, "s0 s1 s2 s3"},
			{"an ended origin", "P.1", true, "s0 s1 s2 s3"},
			{"an ended origin and the live one", "P.1,O.3", true, "s0 s1 s2 s3"},
			{"an unknown origin", "x.9007199254740991", true, "s0 s1 s2 s3"},
		} {
			a := p.answer(strings.NewReplacer("O", p.Origin(), "P", old.Origin()).Replace(tt.after))
			if a.Full != tt.full || values(a.Events) != tt.want {
				t.Errorf("%s: full %v, %q; want %v, %q", tt.name, a.Full, values(a.Events), tt.full, tt.want)
			}
			if a.V != 1 || a.Store != p.StoreID() || a.Origin != p.Origin() || a.Events == nil || a.Kids == nil {
				t.Errorf("%s: %+v", tt.name, a)
			}
			if diff := cmp.Diff([]revocation.OriginHead{{Origin: p.Origin(), Head: 3}}, a.Origins); diff != "" {
				t.Errorf("%s: origins (-want +got):\n%s", tt.name, diff)
			}
		}
	})
}

func TestMalformedPositions(t *testing.T) {
	p := start(t, memstore.New(nil))
	for _, after := range []string{
		"x", ".1", "x.", "x.-1", "x.+1", "x.01", "x.1 ", " x.1", "x.1,", ",x.1", "x.1,,y.1", "x.1.2", "x.9007199254740992",
		"x.99999999999999999999", "x.1,x.2", "*.1", "x\n.1", strings.Repeat("x", 65) + ".1", strings.Repeat("x.1,", 400) + "y.1",
	} {
		if _, err := p.Answer(t.Context(), after); !errors.Is(err, ledger.ErrBadPosition) {
			t.Errorf("%.40q: %v", after, err)
		}
	}
}

func TestTheClockOfAnAnswer(t *testing.T) {
	wall := time.Unix(5000, 999e6)
	s := memstore.New(nil)
	w := store.Write{Key: "ledger.time_floor", Value: []byte(`{"v":1,"time_floor":5001}`)}
	if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
	p := start(t, s, func(c *ledger.Config) {
		c.Wall = func() time.Time { return wall }
		c.Mono = func() time.Duration { return 1500 * time.Microsecond }
		c.Kids = func() []string { return []string{"k1", "k2"} }
	})
	a := p.answer("")
	if a.Up != 1 || a.AtMS != 5001_000 || a.TimeFloor != 5001 || strings.Join(a.Kids, " ") != "k1 k2" {
		t.Errorf("got %+v", a)
	}
	wall = time.Unix(5002, 5e6)
	if a := p.answer(""); a.AtMS != 5002_005 || a.TimeFloor != 5001 {
		t.Errorf("got %+v", a)
	}
}

// gated blocks every List of events until the gate opens, and counts them.
type gated struct {
	store.Store
	gate  chan struct{}
	lists atomic.Int64
}

func (g *gated) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if g.gate != nil && prefix == "ledger.event." {
		g.lists.Add(1)
		select {
		case <-g.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g.Store.List(ctx, prefix, after, limit)
}

func TestFullAnswersThatWaitShareTheNextView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &gated{Store: memstore.New(nil)}
		p := start(t, s)
		p.revoke(sid("s1"))
		s.gate = make(chan struct{})
		var wg sync.WaitGroup
		ask := func(ctx context.Context, want string) {
			wg.Go(func() {
				a, err := p.Answer(ctx, "")
				if ctx.Err() == nil && (err != nil || values(a.Events) != want) {
					t.Errorf("got %q, %v; want %q", values(a.Events), err, want)
				}
			})
		}
		// The first view has started; those that come now may not be served from it,
		// for their caller may know of what was recorded since.
		ask(t.Context(), "s1 s2")
		synctest.Wait()
		p.revoke(sid("s2"))
		cancelled, cancel := context.WithCancel(t.Context())
		ask(cancelled, "")
		for range 20 {
			ask(t.Context(), "s1 s2")
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		if n := s.lists.Load(); n != 2 {
			t.Errorf("%d views for 21 answers", n)
		}
	})
}

func TestEveryAnswerHasTheEventsAcknowledgedBefore(t *testing.T) {
	engines(t, func(t *testing.T, s store.Store) {
		p := start(t, s)
		const batches = 200
		var done atomic.Bool
		var wg sync.WaitGroup
		for reader := range 4 {
			wg.Go(func() {
				after, have := "", map[string]bool{}
				for last := false; !last; {
					last = done.Load()
					acknowledged := p.Head()
					a, err := p.Answer(t.Context(), after)
					if err != nil {
						t.Error(err)
						return
					}
					for _, e := range a.Events {
						have[e.Value] = true
					}
					head := a.Origins[0].Head
					for i := uint64(1); i <= max(head, acknowledged); i++ {
						if !have[fmt.Sprint("s", i)] {
							t.Errorf("acknowledged %d, head %d: batch %d is missing", acknowledged, head, i)
							return
						}
					}
					if reader%2 == 0 {
						after = fmt.Sprintf("%s.%d", p.Origin(), head)
					}
				}
			})
		}
		for i := 1; i <= batches; i++ {
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		done.Store(true)
		wg.Wait()
	})
}
