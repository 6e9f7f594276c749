package broker

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/store"
)

// retryConflicts commits what build returns until there is no conflict; build reads anew
// each time, and returns nil when there is nothing to write. It may lose to a shard that keeps
// writing the same record: an operator's change of a user goes through the user's shard.
func (b *Broker) retryConflicts(ctx context.Context, build func() (*store.Change, error)) error {
	for range maxConflicts {
		built, err := build()
		if err != nil || built == nil {
			return err
		}
		result, err := b.committer.Ask(ctx, commitRequest{changes: []change{{Change: *built}}})
		if err != nil {
			return fmt.Errorf("committing: %w", err)
		}
		if !errors.Is(result.errs[0], store.ErrConflict) {
			return result.errs[0]
		}
	}
	return errConflicts
}
