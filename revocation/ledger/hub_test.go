package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store/memstore"
)

// stuckBus is a network that accepts nothing and never returns.
type stuckBus struct{ release chan struct{} }

func (b stuckBus) Publish(string, []byte) error { <-b.release; return errors.New("gone") }
func (b stuckBus) Flush(context.Context) error  { <-b.release; return errors.New("gone") }

// hub runs a publisher over b until the test ends.
func hub(t *testing.T, p *process, b ledger.Bus, change ...func(*ledger.PublisherConfig)) *ledger.Hub {
	t.Helper()
	config := ledger.PublisherConfig{Ledger: p.Ledger, Bus: b, Sign: sign}
	for _, fn := range change {
		fn(&config)
	}
	pub, err := ledger.NewPublisher(config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := pub.Run(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		if s, ok := b.(stuckBus); ok {
			close(s.release)
		}
		pub.Close()
		<-done
	})
	return pub.Hub()
}

func listen(t *testing.T, h *ledger.Hub, after string) *ledger.Listener {
	t.Helper()
	l, err := h.Listen(t.Context(), "c1", after, revocation.Speaks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// next returns the next event that is not a heartbeat, as "batch 3" with the sequence number of its
// position.
func next(t *testing.T, p *process, l *ledger.Listener) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		e, err := l.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		seq, own := strings.CutPrefix(e.Position, p.Origin()+".")
		if !own {
			t.Fatalf("position %q", e.Position)
		}
		if e.Name != ledger.StreamHeartbeat {
			return e.Name + " " + seq
		}
	}
}

func expect(t *testing.T, p *process, l *ledger.Listener, events ...string) {
	t.Helper()
	for _, want := range events {
		if got := next(t, p, l); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func TestAListenerGoesOnFromItsPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		h := hub(t, p, &bus{})
		for i := range 40 {
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		synctest.Wait()
		at := func(seq int) string { return fmt.Sprintf("%s.%d", p.Origin(), seq) }
		for after, want := range map[string][]string{
			at(38):              {"batch 39", "batch 40"},
			at(0):               {"batch 1", "batch 2"},
			at(41):              {"reset 40"}, // ahead of the head
			"other.3":           {"reset 40"},
			at(3) + ",other.40": {"reset 40"},
		} {
			expect(t, p, listen(t, h, after), want...)
		}
		fromNow, fromHead, reset := listen(t, h, ""), listen(t, h, at(40)), listen(t, h, "other.1")
		p.revoke(sid("one more"))
		expect(t, p, fromNow, "batch 41")
		expect(t, p, fromHead, "batch 41")
		expect(t, p, reset, "reset 40", "batch 41")
		if _, err := h.Listen(t.Context(), "c1", "nonsense", revocation.Speaks); !errors.Is(err, ledger.ErrBadPosition) {
			t.Errorf("a malformed position: %v", err)
		}
	})
}

func TestACollectedPositionIsAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		h := hub(t, p, &bus{})
		for i := range 2000 { // more than is kept signed
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		synctest.Wait()
		before := listen(t, h, p.Origin()+".1")
		time.Sleep(2 * time.Minute)
		p.collect()
		p.revoke(sid("alive"))
		expect(t, p, listen(t, h, p.Origin()+".1"), "reset 2001")
		expect(t, p, before, "reset 2001") // it was known when it began
		p.revoke(sid("also alive"))
		expect(t, p, before, "batch 2002")
	})
}

func TestTheFirstHeartbeatComesAtOnceThenOneASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		h := hub(t, p, &bus{})
		time.Sleep(500 * time.Millisecond)
		l := listen(t, h, "")
		began := time.Now()
		for i := range 4 {
			e, err := l.Next(t.Context())
			if err != nil || e.Name != ledger.StreamHeartbeat || !strings.HasPrefix(string(e.Data), revocation.HeartbeatType) {
				t.Fatalf("event %+v: %v", e, err)
			}
			want := time.Duration(max(0, 1000*i-500)) * time.Millisecond
			if got := time.Since(began); got != want {
				t.Errorf("heartbeat %d after %s, want %s", i, got, want)
			}
		}
	})
}

// A backlog does not delay heartbeats: a reader that works it off also receives them.
func TestHeartbeatsComeAmongABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		h := hub(t, p, &bus{})
		for i := range 2000 {
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		synctest.Wait()
		l := listen(t, h, p.Origin()+".0")
		beats := 0
		for seq := 0; seq < 2000; {
			e, err := l.Next(t.Context())
			switch {
			case err != nil:
				t.Fatal(err)
			case e.Name == ledger.StreamHeartbeat:
				beats++
			default:
				seq++
				if want := fmt.Sprintf("%s.%d", p.Origin(), seq); e.Position != want {
					t.Fatalf("%s at %s, want %s", e.Name, e.Position, want)
				}
				time.Sleep(10 * time.Millisecond) // a slow reader
			}
		}
		if beats < 19 || beats > 21 { // 20 s
			t.Errorf("%d heartbeats", beats)
		}
	})
}

// Every listener gets every batch once and in order, whenever it joins, while commits continue. A batch is
// signed only once, and the network, which is stuck, does not delay a listener.
func TestListenersMissNothingWhileTheNetworkIsStuck(t *testing.T) {
	const readers, batches = 50, 400
	p := start(t, memstore.New(nil))
	var signed atomic.Int64
	h := hub(t, p, stuckBus{make(chan struct{})}, func(c *ledger.PublisherConfig) {
		c.Sign = func(typ string, payload any) ([]byte, error) {
			if typ == revocation.BatchType {
				signed.Add(1)
			}
			return sign(typ, payload)
		}
	})
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			l, err := h.Listen(t.Context(), "c1", p.Origin()+".0", revocation.Speaks)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			for seq := 0; seq < batches; {
				e, err := l.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if e.Name == ledger.StreamHeartbeat {
					continue
				}
				seq++
				if want := fmt.Sprintf("%s.%d", p.Origin(), seq); e.Name != ledger.StreamBatch || e.Position != want {
					t.Errorf("%s at %s, want %s", e.Name, e.Position, want)
					return
				}
			}
		})
	}
	for i := range batches {
		p.revoke(sid(fmt.Sprint("s", i)))
	}
	all.Wait()
	if signed.Load() != batches {
		t.Errorf("%d signatures for %d batches", signed.Load(), batches)
	}
	if n := h.Listeners(); n != 0 {
		t.Errorf("%d listeners are left", n)
	}
}

func TestListenersAreBoundedAndEndWithTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		h := hub(t, p, &bus{}, func(c *ledger.PublisherConfig) { c.MaxListeners = 2 })
		one := listen(t, h, "")
		two, err := h.Listen(t.Context(), "c2", "", revocation.Speaks)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Listen(t.Context(), "c3", "", revocation.Speaks); !errors.Is(err, ledger.ErrTooManyListeners) {
			t.Errorf("one too many: %v", err)
		}
		two.Close()
		two.Close()
		three, err := h.Listen(t.Context(), "c3", "", revocation.Speaks)
		if err != nil {
			t.Fatal(err)
		}
		defer three.Close()
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := one.Next(context.Background()); err != nil {
					ended <- err
					return
				}
			}
		}()
		synctest.Wait()
		h.Close()
		if err := <-ended; !errors.Is(err, ledger.ErrHubClosed) {
			t.Errorf("ended by %v", err)
		}
		if _, err := h.Listen(t.Context(), "c1", "", revocation.Speaks); !errors.Is(err, ledger.ErrHubClosed) {
			t.Errorf("listening at a closed hub: %v", err)
		}
	})
}

// A client that takes all it can leaves room for others, and the last places are reserved for clients that
// have none.
func TestAClientHasItsShareOfTheListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		h := hub(t, p, &bus{}, func(c *ledger.PublisherConfig) { c.MaxListeners = 20 })
		synctest.Wait() // until the publisher runs
		var listening []*ledger.Listener
		defer func() {
			for _, l := range listening {
				l.Close()
			}
		}()
		take := func(client string) error {
			l, err := h.Listen(t.Context(), client, "", revocation.Speaks)
			if err == nil {
				listening = append(listening, l)
			}
			return err
		}
		takeAll := func(client string) (taken int) {
			for {
				if err := take(client); err != nil {
					if !errors.Is(err, ledger.ErrTooManyListeners) {
						t.Fatal(err)
					}
					return taken
				}
				taken++
			}
		}
		for i, want := range []int{4, 4, 4, 4, 2, 1, 1, 0} { // of 20; above 18 one for each
			if got := takeAll(fmt.Sprint("c", i)); got != want {
				t.Errorf("client %d has %d listeners, want %d", i, got, want)
			}
		}
		listening[0].Close()
		if err := take("c0"); !errors.Is(err, ledger.ErrTooManyListeners) {
			t.Errorf("a client that has some takes the last place: %v", err)
		}
		if err := take("new"); err != nil {
			t.Errorf("a client that has none: %v", err)
		}
	})
}

func TestAKeyThatCannotSignDelaysAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := start(t, memstore.New(nil)), &bus{}
		var broken atomic.Bool
		broken.Store(true)
		h := hub(t, p, b, func(c *ledger.PublisherConfig) {
			c.Sign = func(typ string, payload any) ([]byte, error) {
				if broken.Load() {
					return nil, errors.New("no key")
				}
				return sign(typ, payload)
			}
		})
		l := listen(t, h, "")
		p.revoke(sid("s1"))
		p.revoke(sid("s2"))
		time.Sleep(20 * time.Second)
		broken.Store(false)
		time.Sleep(5 * time.Second)
		expect(t, p, l, "batch 1", "batch 2")
		if b.seqs() != "1 2" {
			t.Errorf("published %s", b.seqs())
		}
	})
}

// The memory of the hub does not grow with the number of commits or of listeners that do not read.
func TestAnIdleListenerHoldsNoBatches(t *testing.T) {
	p := start(t, memstore.New(nil))
	const size = 64 << 10
	h := hub(t, p, &bus{}, func(c *ledger.PublisherConfig) {
		c.Sign = func(string, any) ([]byte, error) { return make([]byte, size), nil }
	})
	idle := listen(t, h, "")
	head := listen(t, h, "")
	before := heap()
	for i := range 1000 { // 64 MB signed
		p.revoke(sid(fmt.Sprint("s", i)))
	}
	for next(t, p, head) != "batch 1000" {
	}
	if grown := heap() - before; grown > 24<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
	expect(t, p, idle, "batch 1")
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
