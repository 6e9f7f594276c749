package commit

import (
	"context"
	"math/rand/v2"
	"time"
)

// maxConflicts is how often a change is decided again after a revision conflict.
const maxConflicts = 16

// conflictWait is the longest wait after the first conflict that is followed by one. It grows with their number.
const conflictWait = 5 * time.Millisecond

// pause waits before a change is decided again that has met conflicts. The wait is random, so that brokers that
// write the same record do not meet again. There is none after the first conflict.
func pause(ctx context.Context, conflicts int) error {
	if conflicts < 2 {
		return ctx.Err()
	}
	return wait(ctx, rand.N(conflictWait*time.Duration(conflicts))) //nolint:gosec // no secret
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
