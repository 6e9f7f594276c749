package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// ending is the end of all sessions and tokens of a user, of a client or of everybody that
// were made under a lower epoch than the one that the committer draws for it.
type ending struct {
	kind   revocation.Kind // sub, client or all
	value  string
	reason revocation.Reason
	by     string // the operator, or empty
	// writes are the records that take over the epoch; nil: none (everybody's is the floor).
	// The committer calls it, and calls it again with another epoch when it has to.
	writes func(ctx context.Context, epoch int64) ([]store.Write, error)
}

// end asks the committer for an ending that no shard decides, anew after a conflict: only
// another broker on the store can have caused that.
func (b *Broker) end(ctx context.Context, e ending) (epoch int64, seq uint64, err error) {
	for range maxConflicts {
		result, err := b.committer.Ask(ctx, commitRequest{changes: []change{{ends: &e}}})
		if err != nil {
			return 0, 0, fmt.Errorf("committing: %w", err)
		}
		if !errors.Is(result.errs[0], store.ErrConflict) {
			return result.epochs[0], result.seq, result.errs[0]
		}
	}
	return 0, 0, errConflicts
}

// pendingEnd is a change that ends something, and where its outcome goes.
type pendingEnd struct {
	change
	result *commitResult
	at     int
	epoch  int64
}

func (p *pendingEnd) done(seq uint64, err error) {
	p.result.errs[p.at] = err
	if err == nil {
		p.result.epochs[p.at] = p.epoch
		p.result.seq = max(p.result.seq, seq)
	}
}

// end draws an epoch for each of the changes and commits them as one, with the floor that
// gives the epochs and the events that tell them. It returns those that have to wait, because
// another one writes the same record. A change that cannot be committed with the others is
// committed alone: none is refused for another's sake.
func (c *committer) end(ctx context.Context, asked []*pendingEnd) (waiting []*pendingEnd) {
	floor, rev, err := readFloor(ctx, c.store)
	if err != nil {
		finish(asked, 0, err)
		return nil
	}
	merged, together, waiting := c.merge(ctx, &floor, asked)
	if len(together) == 0 {
		return waiting
	}
	value, err := json.Marshal(floor)
	if err != nil {
		finish(together, 0, fmt.Errorf("encoding the floor: %w", err))
		return waiting
	}
	merged.Writes = append(merged.Writes, store.Write{Key: floorKey, Value: value, Expect: rev})
	errs, seqs := c.write(ctx, []store.Change{merged})
	if len(together) == 1 || errs[0] == nil || refusesAll(errs[0]) {
		finish(together, seqs[0], errs[0])
		return waiting
	}
	for _, p := range together {
		c.end(ctx, []*pendingEnd{p})
	}
	return waiting
}

// merge draws the epochs from floor, in the order of the changes, and makes one change of
// those that go together.
func (c *committer) merge(ctx context.Context, floor *floorRecord, asked []*pendingEnd) (merged store.Change, together, waiting []*pendingEnd) {
	now := c.clock.Now()
	taken := map[string]bool{}
	for _, p := range asked {
		next := floor.draw(now, p.ends.kind)
		writes, err := p.records(ctx, next.Last)
		switch {
		case err != nil:
			p.done(0, err)
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
			Kind: p.ends.kind, Value: p.ends.value, At: now.Unix(), Reason: p.ends.reason, Epoch: p.epoch, By: p.ends.by,
			ExpiresAt: lastExpiry(next, now, c.accessLife),
		})
		together = append(together, p)
	}
	return merged, together, waiting
}

// records are all writes of the change, were epoch its own.
func (p *pendingEnd) records(ctx context.Context, epoch int64) ([]store.Write, error) {
	if p.ends.writes == nil {
		return p.Writes, nil
	}
	writes, err := p.ends.writes(ctx, epoch)
	if err != nil {
		return nil, err
	}
	return append(writes, p.Writes...), nil
}

func finish(pending []*pendingEnd, seq uint64, err error) {
	for _, p := range pending {
		p.done(seq, err)
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

// refusesAll reports whether no change would fare better by itself.
func refusesAll(err error) bool {
	return errors.Is(err, store.ErrUncertain) || errors.Is(err, store.ErrReadOnly) || errors.Is(err, store.ErrClosed)
}

// draw gives the next epoch, which is the floor's last one then, and everybody's if it is
// theirs that ends. It is above every one ever given: no clock decides that.
func (f floorRecord) draw(now time.Time, kind revocation.Kind) floorRecord {
	f.Last = max(f.Last+1, now.UnixMilli())
	if kind == revocation.KindAll {
		f.Epoch = f.Last
	}
	return f
}

// lastExpiry (Unix s) is when the last token that was signed is dead for everybody.
func lastExpiry(floor floorRecord, now time.Time, accessLife time.Duration) int64 {
	// A refresh that was decided before this may be committed after it: its exp is not on
	// record yet, but no later than a token's life from now.
	exp := max(floor.MaxExp, now.Add(accessLife).Unix())
	return exp + int64(session.EventMargin/time.Second)
}
