package validator_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"tokenbroker/revocation"
	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

func TestNoTokenIsAcceptedAfterItsRevocationWasApplied(t *testing.T) {
	const readers, sessions = 8, 400
	b := newBench(t)
	b.issuer.Rotate("EdDSA")
	tokens := make([]string, sessions)
	for i := range tokens {
		tokens[i] = b.issuer.Mint(validatortest.Claims{"sid": fmt.Sprintf("session-%d", i)})
	}
	var applied atomic.Int64 // sessions below are revoked
	var accepted atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range readers {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// Around the border: the last ones revoked, the next ones to be.
				border := applied.Load()
				n := max(0, min(sessions-1, border-2+int64(i%5)))
				_, err := b.Validate(t.Context(), tokens[n])
				switch {
				case err == nil && n < border:
					t.Errorf("session %d was accepted after %d revocations", n, border)
					return
				case err == nil:
					accepted.Add(1)
				case !errors.Is(err, validator.ErrRevoked):
					t.Errorf("session %d: %v", n, err)
					return
				}
			}
		})
	}
	for i := range sessions {
		for before := accepted.Load(); i%20 == 0 && accepted.Load() == before && !t.Failed(); {
			_, _ = b.Validate(t.Context(), tokens[i]) // let the readers meet a good one
		}
		b.denylist.Apply(event(revocation.KindSID, fmt.Sprintf("session-%d", i), 0))
		applied.Store(int64(i + 1))
	}
	close(stop)
	group.Wait()
	if accepted.Load() == 0 {
		t.Error("nothing was ever accepted: the test shows nothing")
	}
}

func TestATokenInMemoryCostsNoAllocation(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	token := b.issuer.Mint(nil)
	n := 0
	allocations := testing.AllocsPerRun(1000, func() {
		if n++; n%10 == 0 { // also a revocation of another user
			b.denylist.BumpVersion()
		}
		if _, err := b.Validate(ctx, token); err != nil {
			t.Fatal(err)
		}
	})
	if allocations != 0 {
		t.Errorf("%.1f allocations", allocations)
	}
	if got := b.Stats().Verified; got != 1 {
		t.Errorf("%d signatures were checked for one token", got)
	}
}

func TestAFirstSightCostsFewAllocations(t *testing.T) {
	b := newBench(t)
	tokens := make([]string, 51)
	for i := range tokens {
		tokens[i] = b.issuer.Mint(validatortest.Claims{"scope": "hello:read", "amr": []string{"pwd"}})
	}
	n := 0
	allocations := testing.AllocsPerRun(len(tokens)-1, func() {
		if _, err := b.Validate(t.Context(), tokens[n]); err != nil {
			t.Fatal(err)
		}
		n++
	})
	if allocations > 30 {
		t.Errorf("%.0f allocations", allocations)
	}
}
