package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store/memstore"
)

// bus is a network that can fail: messages that were published but not flushed are then lost.
type bus struct {
	mu         sync.Mutex
	down       bool
	failFlush  bool
	batches    []revocation.Batch // as flushed
	unflushed  []revocation.Batch
	heartbeats []revocation.Heartbeat
	attempts   int
	most       int // batches between two flushes
}

func (b *bus) set(down, failFlush bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down, b.failFlush = down, failFlush
}

func (b *bus) Publish(subject string, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts++
	if b.down {
		return errors.New("down")
	}
	typ, payload, _ := strings.Cut(string(data), " ")
	switch {
	case typ == revocation.BatchType && strings.HasPrefix(subject, revocation.BatchSubject):
		var batch revocation.Batch
		if err := json.Unmarshal([]byte(payload), &batch); err != nil {
			return err
		}
		b.unflushed = append(b.unflushed, batch)
		b.most = max(b.most, len(b.unflushed))
	case typ == revocation.HeartbeatType && strings.HasPrefix(subject, revocation.HeartbeatSubject):
		var h revocation.Heartbeat
		if err := json.Unmarshal([]byte(payload), &h); err != nil {
			return err
		}
		b.heartbeats = append(b.heartbeats, h)
	default:
		return fmt.Errorf("%s on %s", typ, subject)
	}
	return nil
}

func (b *bus) Flush(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.down && !b.failFlush {
		b.batches = append(b.batches, b.unflushed...)
	}
	b.unflushed = nil
	if b.down || b.failFlush {
		return errors.New("no answer")
	}
	return nil
}

func (b *bus) seqs() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s []string
	for _, batch := range b.batches {
		s = append(s, fmt.Sprint(batch.Seq))
	}
	return strings.Join(s, " ")
}

func sign(typ string, payload any) ([]byte, error) {
	data, err := json.Marshal(payload)
	return append([]byte(typ+" "), data...), err
}

// publish runs a publisher until the test ends.
func publish(t *testing.T, p *process, b ledger.Bus) *ledger.Publisher {
	t.Helper()
	pub, err := ledger.NewPublisher(ledger.PublisherConfig{
		Ledger: p.Ledger, Bus: b, Sign: sign, JWKSETag: func() string { return `"etag"` },
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := pub.Run(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	t.Cleanup(pub.Close)
	return pub
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestBatchesGoOutInOrderAsTheyAreCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := start(t, memstore.New(nil)), &bus{}
		early := p.revoke(sid("before the publisher ran"))
		pub := publish(t, p, b)
		if !pub.Flushed(within(t, 0), p.Origin(), early) {
			t.Error("what was recorded before Run did not go out")
		}
		for i := 2; i <= 5; i++ {
			seq := p.revoke(sid(fmt.Sprint("s", i)))
			if !pub.Flushed(within(t, time.Second), p.Origin(), seq) {
				t.Fatalf("batch %d did not go out", seq)
			}
		}
		if b.seqs() != "1 2 3 4 5" {
			t.Errorf("published %s", b.seqs())
		}
		got := b.batches[4]
		if got.V != 1 || got.Store != p.StoreID() || got.Origin != p.Origin() || got.At != time.Now().Unix() || values(got.Events) != "s5" {
			t.Errorf("batch %+v", got)
		}
		if pub.Flushed(within(t, time.Second), p.Origin(), 6) {
			t.Error("a batch that does not exist was flushed")
		}
	})
}

func TestBacklogIsPublishedAfterAnOutage(t *testing.T) {
	for name, fail := range map[string]func(*bus){
		"nothing can be published":    func(b *bus) { b.set(true, false) },
		"what is published gets lost": func(b *bus) { b.set(false, true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, b := start(t, memstore.New(nil)), &bus{}
				pub := publish(t, p, b)
				p.revoke(sid("s1"))
				synctest.Wait()
				fail(b)
				for i := 2; i <= 60; i++ {
					p.revoke(sid(fmt.Sprint("s", i)))
				}
				if pub.Flushed(within(t, 250*time.Millisecond), p.Origin(), 2) {
					t.Error("flushed to a dead network")
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				stats := pub.Stats()
				if stats.Backlog != 59 || stats.Oldest < 30*time.Second || !stats.Failing {
					t.Errorf("stats %+v", stats)
				}
				if b.attempts > 500 {
					t.Errorf("%d attempts in 30 s", b.attempts)
				}
				b.set(false, false)
				pub.Poke()
				synctest.Wait() // no back-off: the clock has not moved
				want := make([]string, 60)
				for i := range want {
					want[i] = fmt.Sprint(i + 1)
				}
				if b.seqs() != strings.Join(want, " ") {
					t.Errorf("published %s", b.seqs())
				}
				if b.most > 16 {
					t.Errorf("%d batches in memory", b.most)
				}
				if stats := pub.Stats(); stats.Backlog != 0 || stats.Oldest != 0 || stats.Failing {
					t.Errorf("stats %+v", stats)
				}
			})
		})
	}
}

func TestOutageEndsWithoutAPoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := start(t, memstore.New(nil)), &bus{down: true}
		pub := publish(t, p, b)
		seq := p.revoke(sid("s"))
		time.Sleep(20 * time.Second)
		b.set(false, false)
		if !pub.Flushed(within(t, 5*time.Second), p.Origin(), seq) {
			t.Error("not retried within the longest back-off")
		}
	})
}

func TestABacklogThatWasCollectedIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := start(t, memstore.New(nil)), &bus{down: true}
		pub := publish(t, p, b)
		p.revoke(sid("s1"))
		p.revoke(sid("s2"))
		time.Sleep(2 * time.Minute)
		p.collect()
		p.revoke(sid("s3"))
		if stats := pub.Stats(); stats.Backlog != 1 {
			t.Errorf("stats %+v", stats)
		}
		b.set(false, false)
		if !pub.Flushed(within(t, 10*time.Second), p.Origin(), 3) || b.seqs() != "3" {
			t.Errorf("published %s", b.seqs())
		}
	})
}

func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := start(t, memstore.New(nil)), &bus{}
		pub := publish(t, p, b)
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if len(b.heartbeats) != 3 { // at 0, 1 and 2 s
			t.Fatalf("%d heartbeats", len(b.heartbeats))
		}
		p.revoke(sid("s"))
		pub.Poke()
		synctest.Wait()
		if len(b.heartbeats) != 4 {
			t.Fatalf("%d heartbeats after a poke", len(b.heartbeats))
		}
		want := revocation.Heartbeat{
			V: 1, Store: p.StoreID(), Origin: p.Origin(), Head: 1, Up: 2500,
			AtMS: time.Now().UnixMilli(), JWKS: `"etag"`, Heads: map[string]uint64{p.Origin(): 1},
		}
		if got := b.heartbeats[3]; !cmp.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		// They go on while batches are stuck.
		b.set(false, true)
		p.revoke(sid("s2"))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if last := b.heartbeats[len(b.heartbeats)-1]; last.Head != 2 || last.Up < 5000 {
			t.Errorf("got %+v", last)
		}
	})
}

func TestCloseStopsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := start(t, memstore.New(nil)), &bus{down: true}
		pub := publish(t, p, b)
		seq := p.revoke(sid("s"))
		waiting := make(chan bool, 1)
		go func() { waiting <- pub.Flushed(context.Background(), p.Origin(), seq) }()
		synctest.Wait()
		pub.Close()
		pub.Close()
		if <-waiting {
			t.Error("flushed by closing")
		}
		if err := pub.Run(t.Context()); err == nil {
			t.Error("ran again after Close")
		}
	})
	never, err := ledger.NewPublisher(ledger.PublisherConfig{Ledger: start(t, memstore.New(nil)).Ledger, Bus: &bus{}, Sign: sign})
	if err != nil {
		t.Fatal(err)
	}
	never.Close() // without Run
	if _, err := ledger.NewPublisher(ledger.PublisherConfig{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
}
