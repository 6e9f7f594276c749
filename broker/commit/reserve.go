package commit

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/store"
)

// reserve records the largest exp of the run before any token with it can be signed. It returns the requests that
// have to be decided again, by their index.
//
// An event of a user, a client or everybody lives until the largest exp on record. Another broker, or another shard, may
// commit such a termination after a refresh was decided and before it is committed. Every termination draws
// an epoch in a commit that compares the floor's revision, so one that the refresh was decided without has an epoch
// above the last one in the refresh's view:
//
//   - If that epoch is above the last one in the floor on which the exp was reserved, the termination was
//     committed after the reservation and its event outlives the token. So a reservation that a broker
//     has cached is good: MaxExp never falls.
//   - Otherwise the termination may have been committed before the exp was on record, and the refresh is decided again.
//
// The clocks of the brokers have no part in this.
func (c *committer) reserve(ctx context.Context, run []commitRequest) (undecided map[int]bool, err error) {
	var exp int64
	for _, req := range run {
		exp = max(exp, req.signedExp)
	}
	if exp == 0 {
		return nil, nil
	}
	if !c.loaded || exp > c.maxExp {
		if err := c.record(ctx, exp); err != nil {
			return nil, fmt.Errorf("recording the largest exp: %w", err)
		}
	}
	for i, req := range run {
		if req.signedExp == 0 || req.lastEpoch >= c.drawn {
			continue
		}
		if undecided == nil {
			undecided = map[int]bool{}
		}
		undecided[i] = true
	}
	return undecided, nil
}

// record reserves the exps up to exp and some after it.
func (c *committer) record(ctx context.Context, exp int64) error {
	for try := range maxConflicts {
		floor, rev, err := ReadFloor(ctx, c.store)
		if err != nil {
			return err
		}
		c.maxExp, c.drawn, c.loaded = floor.MaxExp, floor.Last, true
		if exp <= floor.MaxExp {
			return nil
		}
		floor.MaxExp = exp + expReserve
		write, err := floor.Write(rev)
		if err != nil {
			return err
		}
		errs := c.engine(ctx, []store.Change{{Writes: []store.Write{write}}}, c.ledger.Seal)
		if errs[0] == nil {
			c.maxExp = floor.MaxExp
			return nil
		}
		if !errors.Is(errs[0], store.ErrConflict) {
			return errs[0]
		}
		if err := pause(ctx, try+1); err != nil {
			return err
		}
	}
	return errConflicts
}
