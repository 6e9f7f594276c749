package keyring_test

import (
	"context"
	"errors"
	"testing"
)

// cancellable is a store whose reads end with their context.
type cancellable struct{ memStore }

func (c *cancellable) Load(ctx context.Context) ([]byte, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	return c.memStore.Load(ctx)
}

func TestACallerThatGivesUpDelaysNoRotation(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &cancellable{}, clock, nil))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	clock.pass(ripening)
	if _, err := ring.Rotate(gone, "access", ""); !errors.Is(err, context.Canceled) {
		t.Fatalf("Rotate = %v", err)
	}
	if r := rotate(t, ring, "access", ""); r.Scheduled {
		t.Errorf("the ripe key signs %s only", r.Signs)
	}
}
