package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

func TestFindAndListOnASharedEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join(func(c *ledger.Config) { c.Kids = func() []string { return []string{"k1"} } })
		b := c.join()
		long := "https://issuer.example/" + strings.Repeat("x", 80)
		named := sub(long, 9)
		named.By, named.Reason = "ada", revocation.ReasonRevoked
		id := sid("aaaaaaaaaaaaaaaaaaaaaaaaaa")
		b.revoke(sub(long, 2), sid("s1"))
		b.revoke(named, id)
		a.revoke(sub(long, 3), sid("s2")) // the weaker one changes nothing
		got, ok, err := a.Find(t.Context(), revocation.KindSub, long)
		if err != nil || !ok || got.Epoch != 9 || got.By != "ada" || got.Origin != b.Origin() || got.Seq != 2 {
			t.Errorf("%+v %v %v", got, ok, err)
		}
		if got, ok, err = a.Find(t.Context(), id.Kind, id.Value); err != nil || !ok || got.Seq != 2 || got.By != "" {
			t.Errorf("%+v %v %v", got, ok, err)
		}
		if got, ok, err = a.Find(t.Context(), revocation.KindKID, "k1"); err != nil || !ok || got.Reason != revocation.ReasonKeyCompromise {
			t.Errorf("a compromised key: %+v %v %v", got, ok, err)
		}
		if _, ok, err := a.Find(t.Context(), revocation.KindJTI, "s1"); ok || err != nil {
			t.Errorf("another kind: %v %v", ok, err)
		}
		for _, limit := range []int{1, 2, 3, 100} {
			var all []string
			for after, more := "", true; more; more = after != "" {
				events, next, err := a.List(t.Context(), after, limit)
				if err != nil || len(events) > limit {
					t.Fatal(len(events), err)
				}
				for _, e := range events {
					all = append(all, fmt.Sprintf("%s.%.4s.%d%s", e.Kind, e.Value, e.Epoch, e.By))
				}
				after = next
			}
			if got := strings.Join(all, " "); got != "sid.aaaa.0 sid.s1.0 sid.s2.0 sub.http.9ada" {
				t.Errorf("in pages of %d: %s", limit, got)
			}
		}
	})
}

// TestTheOperatorIsNotSent: it is in the record of the batch alone.
func TestTheOperatorIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		network := &bus{}
		hub(t, a.process, network)
		e := sid("s1")
		e.By = "operator-ada"
		a.revoke(e)
		synctest.Wait()
		r, err := a.store.Get(t.Context(), a.batchKeys()[0])
		if err != nil || !strings.Contains(string(r.Value), `"by":["operator-ada"]`) {
			t.Errorf("the record %s: %v", r.Value, err)
		}
		b := c.join() // from the record
		for _, m := range []*member{a, b} {
			for _, form := range []revocation.Form{revocation.FormBinary, revocation.FormJSON} {
				answer, err := m.EncodedAnswer(t.Context(), "", form)
				if err != nil {
					t.Fatal(err)
				}
				var text strings.Builder
				_, _ = answer.WriteTo(&text)
				_ = answer.Close()
				if !strings.Contains(text.String(), "s1") || strings.Contains(text.String(), "ada") {
					t.Errorf("the answer %q", text.String())
				}
			}
		}
	})
}

func TestFollowOnASharedEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		b.revoke(sid("b1"))
		got := make(chan string)
		go func() { got <- follow(t, a.process, 0, 16) }()
		synctest.Wait()
		a.revoke(sid("a1"))
		if batches := <-got; !strings.HasPrefix(batches, "1@") || strings.Contains(batches, " 2@") {
			t.Errorf("got %s", batches)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Follow(ctx, a.Origin(), 1, 16); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended by %v", err)
		}
	})
}

// TestABatchThatCannotBeRead: what it revokes is not known, so its origin stays before it and no answer is made.
func TestABatchThatCannotBeRead(t *testing.T) {
	for name, value := range map[string]string{
		"not JSON":          `{"v":1,`,
		"another version":   `{"v":2,"origin":"%s","seq":2,"events":[]}`,
		"an unknown kind":   `{"v":1,"origin":"%s","seq":2,"events":[{"kind":"moon","value":"x"}]}`,
		"another number":    `{"v":1,"origin":"%s","seq":3,"events":[]}`,
		"another origin":    `{"v":1,"origin":"x%s","seq":2,"events":[]}`,
		"operators missing": `{"v":1,"origin":"%s","seq":2,"events":[],"by":["ada"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				a, b := c.join(), c.join()
				a.revoke(sid("s1"))
				good := a.write(t, 2, fmt.Sprintf(strings.Replace(value, "%s", "%[1]s", 1), a.Origin()))
				a.revoke(sid("s3"))
				if _, err := b.Answer(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "ledger.batch.") {
					t.Errorf("an answer: %v", err)
				}
				if _, err := b.Heartbeat(t.Context(), ""); err != nil {
					t.Errorf("a heartbeat, which proves nothing about this broker's memory: %v", err)
				}
				if b.Unreadable() != 1 || !b.denylist.Revoked(revocation.Subject{SID: "s1"}) || b.denylist.Revoked(revocation.Subject{SID: "s3"}) {
					t.Errorf("%d unreadable", b.Unreadable())
				}
				if _, err := c.open(0); err == nil || !strings.Contains(err.Error(), "ledger.batch.") {
					t.Errorf("a new broker: %v", err)
				}
				good()
				if got := sorted(b.answer("").Events); got != "s1 s2 s3" || b.Unreadable() != 0 {
					t.Errorf("once it can be read: %q, %d unreadable", got, b.Unreadable())
				}
			})
		})
	}
}

// write replaces the member's batch seq, which it records before, and returns a function that writes the right one.
func (m *member) write(t *testing.T, seq int, value string) (good func()) {
	t.Helper()
	m.revoke(sid(fmt.Sprint("s", seq)))
	key := m.batchKeys()[seq-1]
	r, err := m.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	put := func(value []byte) {
		w := store.Write{Key: key, Blind: true, Value: value}
		if err := m.run.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
			t.Fatal(err)
		}
	}
	put([]byte(value))
	return func() { put(r.Value) }
}

// TestAnotherStoreEndsTheProcess: the engine was replaced behind the broker's back.
func TestAnotherStoreEndsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		stop := a.goes()
		w := store.Write{Key: "ledger.store", Blind: true, Value: []byte(`{"v":1,"id":"another"}`)}
		if _, errs := c.engine.Open(nil).CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil); errs[0] != nil {
			t.Fatal(errs[0])
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, err := a.Answer(t.Context(), ""); err == nil {
			t.Error("an answer about another store")
		}
		if err := stop(); !errors.Is(err, origins.ErrRewound) {
			t.Errorf("Run ended by %v", err)
		}
	})
}

// TestViewsMayArriveInAnyOrder: an older one neither removes an origin that joined since nor brings one back.
func TestViewsMayArriveInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		older, err := a.run.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d := c.join()
		ends(t, c, b) // without batches it is removed
		c.tick()
		newer, err := a.run.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.Observe(newer)
		a.Observe(older)
		if !a.Knows(d.Origin()) || a.Knows(b.Origin()) {
			t.Errorf("the new origin is known: %v, the removed one: %v", a.Knows(d.Origin()), a.Knows(b.Origin()))
		}
	})
}

// TestAPositionOfAReplacedStoreIsUnknown: a service that learns of another store drops the entries of the old one, and
// a delta after its position would not have them.
func TestAPositionOfAReplacedStoreIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		old := c.join()
		old.revoke(sub("u1", 7))
		old.revoke(sub("u2", 7))
		if err := old.run.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := store.Write{Key: "ledger.store", Blind: true, Value: []byte(`{"v":1,"id":"another"}`)}
		if _, errs := c.engine.Open(nil).CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil); errs[0] != nil {
			t.Fatal(errs[0])
		}
		c.members = nil
		a := c.join()
		if got := a.answer(at(old, 2)); !got.Full || sorted(got.Events) != "u1 u2" || got.Store != "another" {
			t.Errorf("%+v", got)
		}
		if got := a.answer(at(old, 2, a, 0)); sorted(got.Events) != "u1 u2" {
			t.Errorf("%+v", got)
		}
	})
}

// TestWaitingRequestsShareOneViewAndOneEncoding: a hundred services ask while an encoding waits for the engine.
func TestWaitingRequestsShareOneViewAndOneEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		b.revoke(sid("b1"))
		if err := a.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		views := 0
		a.fault = func(op memstore.Op) memstore.Fault {
			if op.Kind == memstore.OpList && op.Key == origins.Prefix {
				views++
				time.Sleep(100 * time.Millisecond)
			}
			return memstore.OK
		}
		before := a.AnswerStats().Encoded
		const services = 100
		errs := make(chan error, services)
		for i := range services {
			go func() {
				// Positions with the same start have the same answer.
				after := at(a, 0, b, 0)
				if i%2 == 0 {
					after = at(b, 0)
				}
				e, err := a.EncodedAnswerFor(t.Context(), "c", after, revocation.Speaks, revocation.FormBinary)
				if err == nil {
					_ = e.Close()
				}
				errs <- err
			}()
		}
		for range services {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := a.AnswerStats().Encoded - before; n > 2 || views > 2 {
			t.Errorf("%d encodings and %d views for %d services", n, views, services)
		}
	})
}

func TestPositionsOfManyOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		a.revoke(sid("s1"))
		var position []string
		for i := range revocation.MaxOrigins - 1 {
			position = append(position, fmt.Sprintf("o%d.1", i))
		}
		position = append(position, at(a, 1))
		if got := a.answer(strings.Join(position, ",")); got.Full || len(got.Events) > 0 {
			t.Errorf("%+v", got)
		}
		if _, err := a.Answer(t.Context(), strings.Join(append(position, "more.1"), ",")); !errors.Is(err, ledger.ErrBadPosition) {
			t.Errorf("one more: %v", err)
		}
	})
}
