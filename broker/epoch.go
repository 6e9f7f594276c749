package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

// drawnEpoch is an epoch above every one ever given; it is given once the floor is written.
type drawnEpoch struct {
	epoch int64
	// expires (Unix s) is when the last token that the epoch can hit is dead for everybody.
	expires int64
	now     time.Time
}

// draw makes the next epoch the floor's last one; everybody makes it the floor's own, too.
func (b *Broker) draw(floor floorRecord, everybody bool) (floorRecord, drawnEpoch) {
	now := b.cfg.Clock.Now()
	floor.Last = max(floor.Last+1, now.UnixMilli())
	if everybody {
		floor.Epoch = floor.Last
	}
	return floor, drawnEpoch{epoch: floor.Last, expires: b.lastExpiry(floor, now), now: now}
}

// lastExpiry (Unix s) is when the last token that was signed is dead for everybody.
func (b *Broker) lastExpiry(floor floorRecord, now time.Time) int64 {
	// A refresh that was decided before this may be committed after it: its exp is not on
	// record yet, but no later than a token's life from now.
	exp := max(floor.MaxExp, now.Add(b.cfg.Policy.AccessLife).Unix())
	return exp + int64(session.EventMargin/time.Second)
}

// event is the revocation that goes with the epoch.
func (d drawnEpoch) event(kind revocation.Kind, value string, reason revocation.Reason) revocation.Event {
	return revocation.Event{Kind: kind, Value: value, At: d.now.Unix(), Reason: reason, Epoch: d.epoch, ExpiresAt: d.expires}
}

// commitEpoch commits what build makes of an epoch, together with the floor that gives it.
// build reads anew at each call, of which there may be several; it returns nil when there is
// nothing to write. All such changes write the floor, so those that wait at the same time
// travel as one. seq is the ledger's head that holds the events, zero when there are none.
func (b *Broker) commitEpoch(ctx context.Context, everybody bool, build func(drawnEpoch) (*store.Change, error)) (seq uint64, err error) {
	r := &epochRequest{everybody: everybody, build: build, done: make(chan struct{})}
	b.epochs.add(r)
	if err := b.epochs.turn.Acquire(ctx, 1); err != nil {
		if b.epochs.remove(r) {
			return 0, fmt.Errorf("waiting to draw an epoch: %w", err)
		}
		<-r.done // it is being committed
		return r.seq, r.err
	}
	defer b.epochs.turn.Release(1)
	for !r.finished() {
		// Others' changes are in it: that this caller went away must not end them.
		b.commitGroup(context.WithoutCancel(ctx), b.epochs.take())
	}
	return r.seq, r.err
}

// commitGroup commits the requests as one change, as far as they touch different records;
// those that do not, or that a failure may not be blamed on, go back to wait.
func (b *Broker) commitGroup(ctx context.Context, open []*epochRequest) {
	var later []*epochRequest
	defer func() { // also when a build panics: nobody is left waiting
		finish(open, 0, errors.New("broker: the epoch's change was given up"))
		b.epochs.putBack(later)
	}()
	for round := range maxConflicts {
		change, writing, waiting, err := b.mergeEpochs(ctx, open)
		if err != nil {
			finish(open, 0, err)
			return
		}
		later = append(later, waiting...)
		if open = writing; len(open) == 0 {
			return
		}
		result, err := b.committer.Ask(ctx, commitRequest{changes: []store.Change{*change}})
		switch {
		case err != nil:
			err = fmt.Errorf("committing: %w", err)
		case result.errs[0] == nil:
			finish(open, result.seq, nil)
			return
		default:
			err = result.errs[0]
		}
		conflict := errors.Is(err, store.ErrConflict)
		if !conflict && len(open) == 1 {
			finish(open, 0, err)
			return
		}
		if !conflict || round > 0 { // one of them may be to blame: the first goes alone
			later = append(later, open[1:]...)
			open = open[:1]
		}
	}
	finish(open, 0, errConflicts)
}

// mergeEpochs builds one change of the requests: writing are those that are in it, waiting
// those that touch a record which another one writes. The rest is finished.
func (b *Broker) mergeEpochs(ctx context.Context, open []*epochRequest) (merged *store.Change, writing, waiting []*epochRequest, err error) {
	floor, rev, err := readFloor(ctx, b.cfg.Store)
	if err != nil {
		return nil, nil, nil, err
	}
	merged = &store.Change{Writes: make([]store.Write, 1)} // the floor's place
	keys := make(map[string]bool)
	for _, r := range open {
		next, drawn := b.draw(floor, r.everybody)
		change, err := r.build(drawn)
		if err != nil || change == nil {
			finish([]*epochRequest{r}, 0, err)
			continue
		}
		if touches(keys, change.Writes) {
			waiting = append(waiting, r)
			continue
		}
		for _, w := range change.Writes {
			keys[w.Key] = true
		}
		floor = next
		merged.Writes = append(merged.Writes, change.Writes...)
		merged.Events = append(merged.Events, change.Events...)
		writing = append(writing, r)
	}
	value, err := json.Marshal(floor)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encoding the floor: %w", err)
	}
	merged.Writes[0] = store.Write{Key: floorKey, Value: value, Expect: rev}
	return merged, writing, waiting, nil
}

func touches(keys map[string]bool, writes []store.Write) bool {
	for _, w := range writes {
		if keys[w.Key] {
			return true
		}
	}
	return false
}
