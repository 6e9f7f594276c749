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
	if !c.loaded || exp > c.maxExp.Load() {
		if err := c.record(ctx, exp); err != nil {
			return nil, fmt.Errorf("recording the largest exp: %w", err)
		}
	}
	for i, req := range run {
		if req.signedExp == 0 || req.lastEpoch >= c.drawn || len(req.changes) == 0 {
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
		c.drawn, c.loaded = floor.Last, true
		c.maxExp.Store(floor.MaxExp)
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
			c.maxExp.Store(floor.MaxExp)
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

// Reserve returns when every token with that exp (Unix s), or an earlier one, may be signed: the largest exp on record is at
// least exp. Calls that find that in memory need no commit, and those that wait for one share it.
//
// It is for tokens that no shard decides. Their epochs must be read after Reserve has returned: then a termination that
// they lack is committed after the reservation, so its event outlives them.
func (p *Path) Reserve(ctx context.Context, exp int64) error {
	if exp <= p.maxExp.Load() {
		return nil
	}
	result, err := p.committer.Ask(ctx, commitRequest{signedExp: exp})
	if err == nil {
		err = result.unreserved
	}
	if err != nil {
		return AppError(ctx, "recording the exp of a token", err)
	}
	return nil
}
