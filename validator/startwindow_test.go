package validator_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"tokenbroker/revocation"
	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

// TestNewKnowsEarlierRevocations starts services one after the other, over
// real sockets, while revocations are recorded in a tight loop. What was acknowledged when
// New was called is refused at once when it returns; what came in the meantime, at once after.
func TestNewKnowsEarlierRevocations(t *testing.T) {
	issuer := validatortest.New(t)
	const starts, each = 15, 4000
	// Minted before, so that the loop does nothing but revoke.
	tokens := make([]string, 200)
	for i := range tokens {
		tokens[i] = issuer.Mint(validatortest.Claims{"sid": fmt.Sprint("s", i)})
	}
	var (
		mu      sync.Mutex
		revoked int // mu guards it
	)
	acknowledged := func() int {
		mu.Lock()
		defer mu.Unlock()
		return revoked
	}
	stop := make(chan struct{})
	var recorder sync.WaitGroup
	recorder.Go(func() {
		for i := range each {
			select {
			case <-stop:
				return
			default:
			}
			if i%(each/len(tokens)) == 0 { // and others between, so that there is something to read
				issuer.RevokeSession(fmt.Sprint("s", i/(each/len(tokens))))
				mu.Lock()
				revoked++
				mu.Unlock()
				continue
			}
			issuer.Revoke(revocation.Event{Kind: revocation.KindJTI, Value: fmt.Sprint("j", i)})
		}
	})
	for range starts {
		before := acknowledged()
		v, err := validator.New(t.Context(), issuer.Config("test"))
		if err != nil {
			t.Fatal(err)
		}
		meanwhile := acknowledged()
		for i := range before {
			if _, err := v.Validate(t.Context(), tokens[i]); !errors.Is(err, validator.ErrRevoked) {
				t.Errorf("token %d of %d revoked before New: %v", i, before, err)
			}
		}
		for i := before; i < meanwhile; i++ {
			validatortest.Await(t, v, tokens[i], validator.ErrRevoked)
		}
		v.Close()
	}
	close(stop)
	recorder.Wait()
}
