package pgstore

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/store"
)

// Confirm implements [store.Confirmer] by a write of a row, which a primary without its standby does not complete.
func (s *Store) Confirm(ctx context.Context) error {
	_, err := s.write(ctx, s.sql.confirm, func(p *primary) (a args) {
		a.int(p.server)
		a.bool(s.config.LocalDurability)
		a.int32(s.touch)
		return a
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, store.ErrUncertain): // whether it was written does not matter
		return fmt.Errorf("%w: %v", store.ErrUnavailable, err) //nolint:errorlint // it must not look uncertain
	}
	return err
}
