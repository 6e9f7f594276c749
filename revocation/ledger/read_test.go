package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

func TestListReturnsEveryLiveEventOnce(t *testing.T) {
	engines(t, func(t *testing.T, s store.Store) {
		p := start(t, s)
		if events, next, err := p.List(t.Context(), "", 10); len(events) != 0 || events == nil || next != "" || err != nil {
			t.Fatalf("of none: %v %q %v", events, next, err)
		}
		long := "https://issuer.example/" + strings.Repeat("x", 80) // its key is a hash
		want := []revocation.Event{sub("u1", 1), sub("u2", 5), sub(long, 2)}
		for i := range 7 {
			want = append(want, sid(fmt.Sprintf("s%d", i)))
		}
		p.revoke(want[:5]...)
		p.revoke(want[5:]...)
		p.revoke(sub("u1", 9)) // the stronger one stands for both
		want[0].Epoch = 9
		order := func(a, b revocation.Event) int {
			return strings.Compare(string(a.Kind)+a.Value, string(b.Kind)+b.Value)
		}
		slices.SortFunc(want, order)

		for _, limit := range []int{1, 3, 5, 9, 10, 11, 5000} {
			var got []revocation.Event
			pages := 0
			for after := ""; ; pages++ {
				events, next, err := p.List(t.Context(), after, limit)
				if err != nil || len(events) > limit || len(events) == 0 || pages > len(want) {
					t.Fatalf("limit %d after %q: %d events, %v", limit, after, len(events), err)
				}
				got = append(got, events...)
				if after = next; after == "" {
					break
				}
			}
			slices.SortFunc(got, order)
			if !slices.EqualFunc(got, want, func(a, b revocation.Event) bool {
				return a.Kind == b.Kind && a.Value == b.Value && a.Epoch == b.Epoch && a.Reason == b.Reason
			}) {
				t.Errorf("limit %d:\n%v\nwant\n%v", limit, got, want)
			}
			if fewest := (len(want) + limit - 1) / limit; pages+1 != fewest {
				t.Errorf("limit %d: %d pages, want %d", limit, pages+1, fewest)
			}
		}
	})
}

func TestListStaysInTheRecordOfEvents(t *testing.T) {
	p := start(t, memstore.New(nil))
	p.revoke(sid("s1"))
	for _, after := range []string{"zzz", "sid.s1", "\xff", "../../store"} {
		if events, next, err := p.List(t.Context(), after, 0); len(events) > 1 || next != "" || err != nil {
			t.Errorf("after %q: %v %q %v", after, events, next, err)
		}
	}
	if events, _, _ := p.List(t.Context(), "sid.s1", 10); len(events) != 0 {
		t.Errorf("after the last: %v", events)
	}
}

func TestListFailsOnAnUnreadableEvent(t *testing.T) {
	s := memstore.New(nil)
	p := start(t, s)
	p.revoke(sid("s1"))
	w := store.Write{Key: "ledger.event.sid.s2", Value: []byte(`{"v":2}`)}
	if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
	if events, _, err := p.List(t.Context(), "", 10); err == nil || events != nil {
		t.Errorf("got %v, %v", events, err)
	}
}

func TestFindReturnsTheStrongestEventAndItsBatch(t *testing.T) {
	engines(t, func(t *testing.T, s store.Store) {
		p := start(t, s, func(c *ledger.Config) { c.Kids = func() []string { return []string{"k1"} } })
		long := "https://issuer.example/" + strings.Repeat("x", 80)
		p.revoke(sub(long, 2), sid("s1"))
		p.revoke(sub(long, 9))
		p.revoke(sub(long, 3)) // the weaker one changes nothing
		got, ok, err := p.Find(t.Context(), revocation.KindSub, long)
		if err != nil || !ok || got.Epoch != 9 || got.Origin != p.Origin() || got.Seq != 2 {
			t.Errorf("%+v %v %v", got, ok, err)
		}
		if got, ok, err = p.Find(t.Context(), revocation.KindKID, "k1"); err != nil || !ok || got.Reason != revocation.ReasonKeyCompromise || got.ExpiresAt != 0 {
			t.Errorf("a compromised key: %+v %v %v", got, ok, err)
		}
		for _, none := range []revocation.Event{{Kind: "jti", Value: "s1"}, {Kind: "sid", Value: "k1"}, {Kind: "kid", Value: "k2"}, {Kind: "all"}} {
			if got, ok, err := p.Find(t.Context(), none.Kind, none.Value); ok || err != nil {
				t.Errorf("%+v: found %+v, %v", none, got, err)
			}
		}
	})
}

func TestFindFailsOnAnUnreadableEvent(t *testing.T) {
	s := memstore.New(nil)
	p := start(t, s)
	w := store.Write{Key: "ledger.event.sid.s2", Value: []byte(`{"v":2}`)}
	if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Find(t.Context(), revocation.KindSID, "s2"); err == nil {
		t.Error("an unreadable event is not revoked")
	}
}

// follow returns the sequence numbers of the batches after seq.
func follow(t *testing.T, p *process, seq, limit uint64) string {
	t.Helper()
	batches, err := p.Follow(t.Context(), p.Origin(), seq, limit)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, b := range batches {
		text += fmt.Sprintf("%d@%s ", b.Seq, b.Written)
	}
	return text
}

func TestFollowReturnsWhenEachBatchWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		for i := range 3 {
			time.Sleep(time.Second)
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		if got := follow(t, p, 0, 2); got != "1@1s 2@2s " {
			t.Errorf("from the beginning: %s", got)
		}
		if got := follow(t, p, 2, 16); got != "3@3s " {
			t.Errorf("from the second: %s", got)
		}
	})
}

func TestFollowWaitsForTheNextBatchOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sid("s1"))
		got := make(chan string)
		go func() { got <- follow(t, p, 1, 16) }()
		synctest.Wait()
		select {
		case early := <-got:
			t.Errorf("got %s before there was any", early)
		default:
		}
		p.revoke(sid("s2"))
		if now := <-got; now != "2@0s " {
			t.Errorf("got %s", now)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Follow(ctx, p.Origin(), 2, 16); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended by %v", err)
		}
	})
}

func TestFollowLeavesOutCollectedBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sid("s1"))
		p.revoke(sid("s2"))
		time.Sleep(3 * time.Minute)
		p.collect()
		p.revoke(sid("alive"))
		if got := follow(t, p, 0, 16); got != "3@3m0s " {
			t.Errorf("got %s", got)
		}
	})
}
