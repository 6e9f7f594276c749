package origins

import (
	"context"
	"testing"
	"testing/synctest"
)

// TestAPanicOfASharedOperationIsNoResult: a caller that waits for an operation that panics gets an error, because the server of
// HTTP recovers the panic.
func TestAPanicOfASharedOperationIsNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared[struct{}]()
		s.running <- struct{}{}
		results := make(chan error, 2)
		for range 2 {
			go func() {
				var err error
				defer func() {
					if recover() == nil {
						results <- err
					}
				}()
				_, err = s.do(t.Context(), func(context.Context) (struct{}, error) { panic("planned") })
			}()
		}
		synctest.Wait()
		<-s.running
		if err := <-results; err == nil {
			t.Error("a confirmation that did not happen is reported")
		}
	})
}
