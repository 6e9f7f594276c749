package validator

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/revocation"
)

// Eight readers and a cache that has room for a sixth of the tokens: entries are dropped,
// written and judged again while the revocations come, and every accepted token is valid
// according to all that was applied before the call.
func TestNoTokenIsAcceptedAfterItsRevocationWhenTheCacheEvicts(t *testing.T) {
	const readers, tokens = 8, 600 // newFake remembers 100
	v, s, mint := newFake(t)
	v.backend = newViewBackend(s, time.Hour) // fresh however long a busy machine takes
	texts := make([]string, tokens)
	for i := range texts {
		texts[i] = mint(brokerNow, brokerNow+3000)
	}
	var applied, accepted atomic.Int64 // tokens below applied are revoked
	stop := make(chan struct{})
	var group sync.WaitGroup
	for r := range readers {
		group.Go(func() {
			for i := int64(r); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				border := applied.Load()
				n := border - 2 + i%5 // the last ones revoked, the next ones to be
				if i%6 == 0 {
					n = i * 7 % tokens // and any
				}
				n = min(max(n, 0), tokens-1)
				claims, err := v.Validate(t.Context(), texts[n])
				switch {
				case err == nil && n < border:
					t.Errorf("token %d was accepted after %d revocations", n, border)
					return
				case err == nil && claims.ID != strconv.FormatInt(n+1, 10):
					t.Errorf("token %d has the claims of %s", n+1, claims.ID)
					return
				case err == nil:
					accepted.Add(1)
				case !errors.Is(err, ErrRevoked) || n > applied.Load():
					t.Errorf("token %d after %d revocations: %v", n, border, err)
					return
				}
			}
		})
	}
	for i := range tokens {
		for before := accepted.Load(); i%4 == 0 && accepted.Load() < before+readers && !t.Failed(); {
			_, _ = v.Validate(t.Context(), texts[i]) // let the readers meet good ones
			s.revoked.BumpVersion()
		}
		s.revoked.Apply(revocation.Event{Kind: revocation.KindJTI, Value: strconv.Itoa(i + 1), At: brokerNow, ExpiresAt: brokerNow + 3000})
		applied.Store(int64(i + 1))
	}
	close(stop)
	group.Wait()
	if signatures := v.Stats().Verified; accepted.Load() == 0 || signatures < tokens || v.cache.count.Load() > 100 {
		t.Errorf("%d accepted, %d signatures, %d remembered: the test shows nothing", accepted.Load(), signatures, v.cache.count.Load())
	}
}

// viewedSource calls onView at each look at the view.
type viewedSource struct {
	*fakeSource
	onView func()
}

func (s *viewedSource) view() *view {
	s.onView()
	return s.fakeSource.view()
}

// A verdict is stored under the version of a reading that was taken before the look-ups: a
// revocation that comes at any later one makes it old.
func TestRevocationAtAnyReadingInvalidatesTheStoredVerdict(t *testing.T) {
	for name, seen := range map[string]bool{"first sight": false, "again": true} {
		t.Run(name, func(t *testing.T) {
			came := true
			for at := 1; came; at++ {
				v, s, mint := newFake(t)
				token := mint(brokerNow, brokerNow+300)
				if seen {
					if _, err := v.Validate(t.Context(), token); err != nil {
						t.Fatal(err)
					}
					s.revoked.BumpVersion()
				}
				readings := 0
				v.backend = newViewBackend(&viewedSource{s, func() {
					if readings++; readings == at {
						s.revoked.Apply(revocation.Event{Kind: revocation.KindJTI, Value: "1", At: brokerNow, ExpiresAt: brokerNow + 300})
					}
				}}, 30*time.Second)
				_, _ = v.Validate(t.Context(), token)
				if came = readings >= at; !came && at < 3 {
					t.Fatalf("%d readings: the test shows nothing", readings)
				}
				if _, err := v.Validate(t.Context(), token); came && !errors.Is(err, ErrRevoked) {
					t.Errorf("revoked at reading %d, then: %v", at, err)
				}
			}
		})
	}
}
