package keyring_test

import (
	"context"
	"errors"
	"testing"
)

// cancellable is a store whose reads return the error of their context.
type cancellable struct{ memStore }

func (c *cancellable) Load(ctx context.Context) ([]byte, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	return c.memStore.Load(ctx)
}

func TestACancelledReadDelaysNoRotation(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &cancellable{}, clock, nil))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	clock.pass(readyAfter)
	if _, err := ring.Rotate(gone, "access", ""); !errors.Is(err, context.Canceled) {
		t.Fatalf("Rotate = %v", err)
	}
	if r := rotate(t, ring, "access", ""); r.Scheduled {
		t.Errorf("the ready key signs only at %s", r.Signs)
	}
}
