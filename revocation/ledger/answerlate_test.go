package ledger_test

import (
	"context"
	"errors"
	"fmt"
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

// patient asks as a caller does that waits 3 s and asks again after one second. It returns the answer and
// the number of requests. It calls first before each request, to record something in the meantime.
func (p *process) patient(after string, as revocation.Form, before func(try int)) (a *ledger.EncodedAnswer, tries int) {
	p.t.Helper()
	for tries = 1; tries <= 20; tries++ {
		before(tries)
		ctx, cancel := context.WithTimeout(p.t.Context(), 3*time.Second)
		a, err := p.encoded(ctx, after, as)
		cancel()
		if err == nil {
			return a, tries
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			p.t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	p.t.Fatal("no answer in 20 tries")
	return nil, 0
}

// TestAnAnswerThatTakesLongerThanItsCallersWait checks that such an answer is made once, and is up to date
// when it is returned, however much is recorded in the meantime.
func TestAnAnswerThatTakesLongerThanItsCallersWait(t *testing.T) {
	for _, as := range []revocation.Form{revocation.FormJSON, revocation.FormBinary} {
		for _, after := range []string{"", "O.0"} {
			t.Run(fmt.Sprintf("%s after %q", as, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &gatedAll{gated{Store: memstore.New(nil)}}
					p := start(t, s)
					p.revoke(sid("s0"))
					s.gate = make(chan struct{})
					const opens = 5 // the try at which the store answers: 16 s after the first
					want := []string{"s0"}
					up := int64(0)
					a, tries := p.patient(after, as, func(try int) {
						if try == opens {
							close(s.gate)
							synctest.Wait()
						}
						name := fmt.Sprint("s", try)
						p.revoke(sid(name))
						want, up = append(want, name), p.Up()
					})
					if tries != opens {
						t.Errorf("answered at try %d, want %d", tries, opens)
					}
					decode := revocation.DecodeAnswer
					if as == revocation.FormBinary {
						decode = revocation.DecodeBinaryAnswer
					}
					got, err := decode(a.Reader())
					if err != nil {
						t.Fatal(err)
					}
					if as == revocation.FormBinary {
						deny := revocation.NewDenylist()
						read, err := deny.ReadAnswer(a.Reader())
						if err != nil {
							t.Fatal(err)
						}
						deny.Apply(read.Events...)
						for _, name := range want {
							if !deny.Revoked(revocation.Subject{SID: name}) {
								t.Errorf("%s is not revoked", name)
							}
						}
					}
					listed := strings.Fields(values(got.Events))
					slices.Sort(listed)
					if listed = slices.Compact(listed); !slices.Equal(listed, want) || got.Full != (after == "") {
						t.Errorf("full %v with %v, want %v", got.Full, listed, want)
					}
					if head := got.Origins[0].Head; head != p.Head() || got.Up < up {
						t.Errorf("its head is %d of %d, at %d; the request was at %d", head, p.Head(), got.Up, up)
					}
					// Only the first encoding and the one that brings it up to date.
					if st := p.AnswerStats(); st.Encoded > 3 || after == "" && s.lists.Load() != 1 {
						t.Errorf("%d encodings, %d full reads", st.Encoded, s.lists.Load())
					}
					if err := a.Close(); err != nil {
						t.Fatal(err)
					}
					if st := p.AnswerStats(); st.Bytes == 0 {
						t.Error("no answer is kept for other callers that ask again")
					}
					time.Sleep(time.Minute)
					synctest.Wait()
					if st := p.AnswerStats(); st.Bytes != 0 {
						t.Errorf("%d bytes are kept permanently", st.Bytes)
					}
				})
			})
		}
	}
}

// slowStore needs 10 s for a full read.
type slowStore struct {
	store.Store
	lists atomic.Int64
}

func (s *slowStore) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if prefix == "ledger.event." {
		s.lists.Add(1)
		time.Sleep(10 * time.Second)
	}
	return s.Store.List(ctx, prefix, after, limit)
}

// TestKeptAnswerIsNotKeptLonger checks that an answer is made again once its lifetime has passed.
func TestKeptAnswerIsNotKeptLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{Store: memstore.New(nil)}
		p := start(t, s)
		s.lists.Store(0)
		p.revoke(sid("s0"))
		for range 100 {
			a, _ := p.patient("", revocation.FormBinary, func(int) {})
			_ = a.Close()
			time.Sleep(10 * time.Second)
		}
		if n := s.lists.Load(); n < 3 || n > 50 {
			t.Errorf("%d full reads", n)
		}
		p.Close()
	})
}

// TestKeptAnswerMakesRoom checks that a kept answer is dropped if answers for waiting callers need the
// room.
func TestKeptAnswerMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &gated{Store: memstore.New(nil)}
		p := start(t, s)
		for i := range 20 {
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		s.gate = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.encoded(ctx, "", revocation.FormJSON); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		close(s.gate)
		synctest.Wait()
		p.LimitAnswers(p.AnswerStats().Bytes - 1)
		a, err := p.encoded(t.Context(), "", revocation.FormBinary)
		if err != nil {
			t.Fatal(err)
		}
		if size := p.AnswerStats().Bytes; size != a.Size() {
			t.Errorf("%d bytes in use, want %d", size, a.Size())
		}
		_ = a.Close()
	})
}

// TestCloseEndsEncodingsWithoutCallers also covers encodings that are blocked.
func TestCloseEndsEncodingsWithoutCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &gated{Store: memstore.New(nil), gate: nil}
		p := start(t, s)
		p.revoke(sid("s0"))
		s.gate = make(chan struct{})
		for _, as := range []revocation.Form{revocation.FormJSON, revocation.FormBinary} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := p.encoded(ctx, "", as); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		p.Close()
		p.Close()
		if _, err := p.encoded(t.Context(), "", revocation.FormJSON); err == nil {
			t.Error("an answer after Close")
		}
	})
}

// TestDeltasWithoutCallersAreBounded has a caller ask for many deltas and never come back.
func TestDeltasWithoutCallersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &gatedAll{gated{Store: memstore.New(nil)}}
		p := start(t, s)
		const batches = 300
		for i := range batches {
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		s.gate = make(chan struct{})
		for i := range batches {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := p.encoded(ctx, fmt.Sprint("O.", i), revocation.FormJSON); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		close(s.gate)
		synctest.Wait()
		if n := p.AnswerStats().Encoded; n > 70 {
			t.Errorf("%d encodings without a caller", n)
		}
	})
}
