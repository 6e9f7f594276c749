package broker

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/broker/store"
)

// retryConflicts commits what build returns until there is no conflict; build reads anew
// each time, and returns nil when there is nothing to write.
func (b *Broker) retryConflicts(ctx context.Context, build func() (*store.Change, error)) error {
	_, err := b.commitChange(ctx, build)
	return err
}

// commitChange is retryConflicts for a change with events: seq is the ledger's head that
// holds them, zero when there are none.
func (b *Broker) commitChange(ctx context.Context, build func() (*store.Change, error)) (seq uint64, err error) {
	for range maxConflicts {
		change, err := build()
		if err != nil || change == nil {
			return 0, err
		}
		result, err := b.committer.Ask(ctx, commitRequest{changes: []store.Change{*change}})
		if err != nil {
			return 0, fmt.Errorf("committing: %w", err)
		}
		if !errors.Is(result.errs[0], store.ErrConflict) {
			return result.seq, result.errs[0]
		}
	}
	return 0, errConflicts
}
