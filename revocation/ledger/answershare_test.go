package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

func (p *process) encoded(ctx context.Context, after string, as revocation.Form) (*ledger.EncodedAnswer, error) {
	return p.EncodedAnswer(ctx, strings.Replace(after, "O", p.Origin(), 1), as)
}

// TestThousandAnswersTakeFewEncodings sends all requests at once, as after a restart.
func TestThousandAnswersTakeFewEncodings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &gatedAll{gated{Store: memstore.New(nil)}}
		p := start(t, s)
		for i := range 50 {
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		s.gate = make(chan struct{})
		before := p.AnswerStats().Encoded
		var wg sync.WaitGroup
		var total atomic.Int64
		for i := range 1000 {
			wg.Go(func() {
				// A position of another origin, of this one and none, in both forms.
				after := []string{"", "old.7,older.3", "O.0", "O.49"}[i%4]
				as := []revocation.Form{revocation.FormJSON, revocation.FormBinary}[i/4%2]
				a, err := p.encoded(t.Context(), after, as)
				if err != nil {
					t.Error(err)
					return
				}
				defer a.Close()
				decode := revocation.DecodeAnswer
				if as == revocation.FormBinary {
					decode = revocation.DecodeBinaryAnswer
				}
				got, err := decode(a.Reader())
				if want := []int{50, 50, 50, 1}[i%4]; err != nil || len(got.Events) != want || got.Full != (i%4 < 2) {
					t.Errorf("%q: %+v, %v", after, got, err)
				}
				total.Add(1)
			})
		}
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		// There are three distinct answers, one full and two deltas, in two forms: each is encoded once
		// for the first callers and once for those that came in the meantime.
		if n := p.AnswerStats().Encoded - before; n > 12 || total.Load() != 1000 {
			t.Errorf("%d encodings for %d answers", n, total.Load())
		}
		if held := p.AnswerStats().Bytes; held != 0 {
			t.Errorf("%d bytes stay in use", held)
		}
	})
}

// gatedAll is gated, and also gates batches.
type gatedAll struct{ gated }

func (g *gatedAll) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if g.gate != nil && strings.HasPrefix(prefix, "ledger.batch.") {
		<-g.gate
	}
	return g.gated.List(ctx, prefix, after, limit)
}

func TestCancelledCallersLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &gated{Store: memstore.New(nil)}
		p := start(t, s)
		p.revoke(sid("s1"))
		s.gate = make(chan struct{})
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 { // one encodes, two wait
			wg.Go(func() {
				if a, err := p.encoded(ctx, "", revocation.FormJSON); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, %v", a, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		// One caller encodes only for itself, another waits for the next encoding and leaves.
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		wg.Go(func() {
			a, err := p.encoded(t.Context(), "", revocation.FormJSON)
			if err != nil {
				t.Error(err)
				return
			}
			_ = a.Close()
			_ = a.Close() // a second Close has no effect
		})
		synctest.Wait()
		wg.Go(func() { _, _ = p.encoded(ctx, "", revocation.FormJSON) })
		synctest.Wait()
		s.gate <- struct{}{} // the first is done; the second has started
		synctest.Wait()
		cancel()
		wg.Wait()
		if st := p.AnswerStats(); st.Bytes != 0 {
			t.Errorf("%d bytes stay in use", st.Bytes)
		}
	})
}

// TestCancelledEncodingDoesNotFailOtherCallers checks that the next caller encodes instead.
func TestCancelledEncodingDoesNotFailOtherCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &gated{Store: memstore.New(nil)}
		p := start(t, s)
		p.revoke(sid("s1"))
		s.gate = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = p.encoded(ctx, "", revocation.FormJSON) })
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				a, err := p.encoded(t.Context(), "", revocation.FormJSON)
				if err != nil {
					t.Error(err)
					return
				}
				_ = a.Close()
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(s.gate)
		wg.Wait()
	})
}

// TestAnswersInUseAreBounded checks that an answer beyond the bound waits until another is closed.
func TestAnswersInUseAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sid("s1"))
		const bound = 2000
		p.LimitAnswers(bound)
		var held []*ledger.EncodedAnswer
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			a, err := p.encoded(ctx, "", revocation.FormJSON)
			cancel()
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				break
			}
			held = append(held, a)
		}
		size := held[0].Size()
		if n := p.AnswerStats().Bytes; n <= bound || n > bound+size {
			t.Errorf("%d bytes in use", n)
		}
		answered := make(chan error, 1)
		go func() {
			a, err := p.encoded(t.Context(), "", revocation.FormJSON)
			if err == nil {
				_ = a.Close()
			}
			answered <- err
		}()
		synctest.Wait()
		for _, a := range held {
			_ = a.Close()
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}

// TestAClientHasItsShareOfTheAnswers checks that a client that does not close its answers is refused
// beyond its share, while others are answered.
func TestAClientHasItsShareOfTheAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sid("s1"))
		ask := func(client string) (*ledger.EncodedAnswer, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return p.EncodedAnswerFor(ctx, client, "", revocation.Speaks, revocation.FormJSON)
		}
		first, err := ask("greedy")
		if err != nil {
			t.Fatal(err)
		}
		held, size := []*ledger.EncodedAnswer{first}, first.Size()
		p.LimitAnswers(16 * size)
		takeAll := func(client string) (taken int) {
			for {
				a, err := ask(client)
				if err != nil {
					if !errors.Is(err, ledger.ErrTooManyAnswers) {
						t.Fatal(err)
					}
					return taken
				}
				held, taken = append(held, a), taken+1
			}
		}
		for _, c := range []struct {
			client string
			want   int
		}{{"greedy", 4}, {"c1", 5}, {"c2", 3}, {"c3", 1}, {"c4", 1}} { // 4 of 16 and one more; 12 of 16 and one more
			if got := takeAll(c.client); got != c.want {
				t.Errorf("%s has %d more answers, want %d", c.client, got, c.want)
			}
		}
		for _, a := range held {
			_ = a.Close()
			_ = a.Close()
		}
		if st := p.AnswerStats(); st.Bytes != 0 {
			t.Errorf("%d bytes stay in use", st.Bytes)
		}
		if got := takeAll("greedy"); got != 5 {
			t.Errorf("%d answers after all were closed", got)
		}
		for _, a := range held {
			_ = a.Close()
		}
	})
}

// TestALongDeltaIsReadInPages checks that the size of a page is limited in bytes and in number, with
// batches of any size.
func TestALongDeltaIsReadInPages(t *testing.T) {
	pages := &paged{Store: memstore.New(nil)}
	p := start(t, pages)
	for i := range 12 {
		var events []revocation.Event
		for j := range 500 {
			events = append(events, sub(strings.Repeat("s", 800)+fmt.Sprint("-", i, "-", j), 1))
		}
		p.revoke(events...)
	}
	for i := range 1200 {
		p.revoke(sid(fmt.Sprint("s", i)))
	}
	a := p.answer(p.Origin() + ".0")
	if a.Full || len(a.Events) != 12*500+1200 {
		t.Errorf("full %v, %d events", a.Full, len(a.Events))
	}
	if pages.largest > 4<<20 || pages.most > 1000 {
		t.Errorf("a page of %d records, one of %d bytes", pages.most, pages.largest)
	}
	if pages.lists > 5 {
		t.Errorf("%d pages", pages.lists)
	}
	if _, err := p.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	pages.largest, pages.most = 0, 0
	start(t, pages).collect() // now the batches are of another origin
	if pages.most > 32 {
		t.Errorf("a collection read a page of %d batches, %d bytes", pages.most, pages.largest)
	}
}

// paged records how many batches and bytes are read at a time.
type paged struct {
	store.Store
	lists, most, largest int
}

func (p *paged) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	records, err := p.Store.List(ctx, prefix, after, limit)
	if !strings.HasPrefix(prefix, "ledger.batch.") {
		return records, err
	}
	bytes := 0
	for _, r := range records {
		bytes += len(r.Value)
	}
	p.lists++
	p.most, p.largest = max(p.most, len(records)), max(p.largest, bytes)
	return records, err
}

func TestUnreadableRecordStopsOnlyFullAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := memstore.New(nil)
		p := start(t, s, func(c *ledger.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		p.revoke(sid("s1"))
		put := func(w store.Write) {
			w.Blind = true
			if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
				t.Fatal(err)
			}
		}
		put(store.Write{Key: "ledger.event.sid.a-damaged", Value: []byte(`{"v":1,`)})
		put(store.Write{Key: "ledger.batch.another.0000000000000001", Value: []byte(`{"v":9}`)})
		p.revoke(sid("s2"))
		time.Sleep(2 * time.Minute)
		for range 2 {
			n, err := p.Collect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if left := strings.Join(p.keys("ledger.event."), " "); left != "ledger.event.sid.a-damaged" {
				t.Errorf("collected %d, left %s", n, left)
			}
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || p.Unreadable() != 2 {
			t.Errorf("%d unreadable, %d lines:\n%s", p.Unreadable(), n, &log)
		}
		for _, as := range []revocation.Form{revocation.FormJSON, revocation.FormBinary} {
			if _, err := p.encoded(t.Context(), "", as); err == nil || !strings.Contains(err.Error(), "a-damaged") {
				t.Errorf("a full answer: %v", err)
			}
		}
		p.revoke(sid("s3"))
		if a := p.answer(fmt.Sprintf("%s.%d", p.Origin(), p.Head()-1)); a.Full || values(a.Events) != "s3" {
			t.Errorf("a delta: %+v", a)
		}
		put(store.Write{Key: "ledger.event.sid.a-damaged", Delete: true})
		put(store.Write{Key: "ledger.batch.another.0000000000000001", Delete: true})
		p.collect()
		if a := p.answer(""); p.Unreadable() != 0 || values(a.Events) != "s3" {
			t.Errorf("after the repair: %d unreadable, %+v", p.Unreadable(), a)
		}
	})
}
