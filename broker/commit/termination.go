package commit

import (
	"context"
	"errors"

	"tokenbroker/broker/directory"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Termination is the end of all sessions and tokens of a user, of a client or of everybody that
// were created under a lower epoch than the one that the committer draws for it.
type Termination struct {
	Kind   revocation.Kind // sub, client or all
	Value  string          // the uid or the client's id
	Reason revocation.Reason
	By     string // the operator, or empty
	// Writes returns the writes of the records that get the epoch. If nil, there are none: everybody's
	// epoch is in the floor. The committer may call it several times, with different epochs.
	Writes func(ctx context.Context, epoch int64) ([]store.Write, error)
}

// pendingTermination is a change with a termination, and where its result goes.
type pendingTermination struct {
	change
	result *commitResult
	at     int
	epoch  int64
}

func (p *pendingTermination) settle(seq uint64, err error) {
	p.result.errs[p.at] = err
	if err == nil {
		p.result.epochs[p.at] = p.epoch
		p.result.seq = max(p.result.seq, seq)
	}
}

// terminate draws an epoch for each of the changes and commits them as one, with the floor that
// holds the epochs and with their events. It returns the changes that have to wait because
// another one writes the same record. If the changes cannot be committed together, each is
// committed by itself: none is refused because of another one. A conflict that another broker's epoch
// caused is not a result: the epochs are drawn again.
func (c *committer) terminate(ctx context.Context, asked []*pendingTermination) (waiting []*pendingTermination) {
	floors, _ := store.Provisional(c.store) // the commit compares the revision
	for try := 1; ; try++ {
		floor, rev, err := ReadFloor(ctx, floors)
		if err != nil {
			settleAll(asked, 0, err)
			return waiting
		}
		merged, together, held := c.merge(ctx, &floor, asked)
		waiting = append(waiting, held...)
		if len(together) == 0 {
			return waiting
		}
		write, err := floor.Write(rev)
		if err != nil {
			settleAll(together, 0, err)
			return waiting
		}
		merged.Writes = append(merged.Writes, write)
		errs, seqs := c.write(ctx, []store.Change{merged})
		overtaken := errors.Is(errs[0], store.ErrConflict) && c.floorMoved(ctx, rev)
		switch {
		case overtaken && try < maxConflicts && (try < maxTogether || len(together) == 1):
			if err := pause(ctx, try); err == nil {
				asked = together
				continue
			}
		case errs[0] != nil && !refusesAll(errs[0]) && len(together) > 1:
			for _, p := range together {
				c.terminate(ctx, []*pendingTermination{p})
			}
			return waiting
		}
		settleAll(together, seqs[0], errs[0])
		return waiting
	}
}

// floorMoved reports whether the floor has another revision than rev.
func (c *committer) floorMoved(ctx context.Context, rev store.Revision) bool {
	_, now, err := ReadFloor(ctx, c.store)
	return err == nil && now != rev
}

// merge draws the epochs from floor, in the order of the changes, and merges the changes
// that write different records.
func (c *committer) merge(ctx context.Context, floor *Floor, asked []*pendingTermination) (merged store.Change, together, waiting []*pendingTermination) {
	now := c.clock.Now()
	taken := map[string]bool{}
	for _, p := range asked {
		next := floor.NextEpoch(now, p.termination.Kind)
		writes, err := p.records(ctx, next.Last)
		switch {
		case err != nil:
			p.settle(0, err)
			continue
		case touches(taken, writes):
			waiting = append(waiting, p)
			continue
		}
		for _, w := range writes {
			taken[w.Key] = true
		}
		*floor, p.epoch = next, next.Last
		merged.Writes = append(merged.Writes, writes...)
		merged.Events = append(merged.Events, p.Events...)
		merged.Events = append(merged.Events, revocation.Event{
			Kind: p.termination.Kind, Value: p.termination.Value, At: now.Unix(), Reason: p.termination.Reason, Epoch: p.epoch, By: p.termination.By,
			ExpiresAt: next.EventExpiry(now, c.accessLife),
		})
		together = append(together, p)
	}
	return merged, together, waiting
}

// records returns all writes of the change under epoch.
func (p *pendingTermination) records(ctx context.Context, epoch int64) ([]store.Write, error) {
	if p.termination.Writes == nil {
		return p.Writes, nil
	}
	writes, err := p.termination.Writes(ctx, epoch)
	if err != nil {
		return nil, err
	}
	return append(writes, p.Writes...), nil
}

func settleAll(pending []*pendingTermination, seq uint64, err error) {
	for _, p := range pending {
		p.settle(seq, err)
	}
}

func touches(taken map[string]bool, writes []store.Write) bool {
	for _, w := range writes {
		if taken[w.Key] {
			return true
		}
	}
	return false
}

// refusesAll reports whether every change would meet the same error.
func refusesAll(err error) bool {
	for _, all := range []error{store.ErrUncertain, store.ErrReadOnly, store.ErrClosed, store.ErrFenced, store.ErrUnavailable} {
		if errors.Is(err, all) {
			return true
		}
	}
	return false
}

// termination returns the termination of the user's sessions and tokens. It writes the user's record, with
// the epoch, instead of the view.
func (v *UserView) termination(reason revocation.Reason, by string) *Termination {
	t := &Termination{Kind: revocation.KindSub, Value: v.uid, Reason: reason, By: by}
	if !v.userPut { // removed: there is no record
		return t
	}
	user, rev := *v.user, v.userRev
	v.userPut = false
	t.Writes = func(_ context.Context, epoch int64) ([]store.Write, error) {
		under := user
		under.Epoch = epoch
		write, err := directory.PutUser(&under, rev)
		return []store.Write{write}, err
	}
	return t
}
