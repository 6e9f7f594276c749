package origins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenbroker/store"
)

const (
	// nameSilence is how long the record of a broker with our name has to be unchanged before it is ended. A
	// running broker changes its record within beatEvery.
	nameSilence = beatEvery + time.Second
	joinPoll    = time.Second
)

// Join creates a new origin, and ends the one of the last run of the same name.
//
// A record of a broker that would have to be refused, such as one with another key or with the same name, may be that of a
// broker that has crashed. Join therefore watches it: it returns the reason as soon as the record changes, and
// otherwise ends that origin, after 6 s if it has the same name and after 30 s if not. A broker that was
// stopped with [Run.Leave] is not waited for.
func Join(ctx context.Context, config Config) (*Run, error) {
	r := &Run{turn: make(chan struct{}, 1), views: newShared[*View](), confirms: newShared[struct{}]()}
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("joining the store's brokers: %w", err)
	}
	r.config, r.engine = config, config.Engine
	if err := r.join(ctx); err != nil {
		return nil, fmt.Errorf("joining the store's brokers: %w", err)
	}
	return r, nil
}

// Rejoin creates another origin after Commit or Tick returned [store.ErrFenced]. It does nothing if the run was
// not fenced. Commits wait for it.
func (r *Run) Rejoin(ctx context.Context) error {
	if err := r.take(ctx); err != nil {
		return err
	}
	defer r.release()
	if err := r.failed(); !errors.Is(err, store.ErrFenced) {
		return err
	}
	r.open = nil // it can no longer be written
	old := r.Origin()
	if err := r.join(ctx); err != nil {
		return fmt.Errorf("rejoining the store's brokers: %w", err)
	}
	r.count(func(s *Stats) { s.Rejoins++ })
	r.config.Logger.Warn("another broker had ended this origin; the broker continues with a new one", "ended", old, "origin", r.Origin())
	return nil
}

// Leave ends the origin, so that a new run of the broker starts without delay and the others do not wait for
// this one. Later commits return [store.ErrClosed].
func (r *Run) Leave(ctx context.Context) error { return r.leave(ctx) }

// leave ends the origin and makes further writes, in one change.
func (r *Run) leave(ctx context.Context, with ...store.Write) error {
	if err := r.take(ctx); err != nil {
		return err
	}
	defer r.release()
	if err := r.failed(); err != nil {
		if len(with) == 0 {
			return nil
		}
		return err
	}
	err := r.settleOpen(ctx)
	r.fail(store.ErrClosed) // before another read finds that the origin has ended
	if err == nil {
		change := store.Change{Writes: append([]store.Write{r.self().end()}, with...)}
		_, errs := r.engine.CommitFenced(ctx, store.Fence{}, []store.Change{change}, nil)
		err = errs[0]
	}
	if errors.Is(err, store.ErrUncertain) && r.left(ctx, with) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("leaving the store's brokers: %w", err)
	}
	return nil
}

// left reports whether the origin has ended and the further writes were made. Another program may have ended the origin
// without them.
func (r *Run) left(ctx context.Context, with []store.Write) bool {
	own, err := readRecord(ctx, r, r.Origin())
	if err != nil || !own.Ended {
		return false
	}
	for _, w := range with {
		stored, err := r.Get(ctx, w.Key)
		switch {
		case w.Delete && errors.Is(err, store.ErrNotFound):
		case w.Delete || err != nil || !bytes.Equal(stored.Value, w.Value):
			return false
		}
	}
	return true
}

// join creates an origin and resets the state of the run. The caller has the turn, or the run is new.
func (r *Run) join(ctx context.Context) error {
	joined, err := r.admit(ctx)
	if err != nil {
		return err
	}
	undo := func() {}
	if r.config.Maintenance != "" {
		joined, undo, err = r.maintain(ctx)
	}
	var own Origin
	if err == nil {
		own, err = r.create(ctx, joined)
	}
	if err != nil {
		undo()
		return err
	}
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own, r.committed, r.present = own, now.mono, now
	if !errors.Is(r.failure, ErrRewound) {
		r.failure = nil
	}
	r.viewed, r.watch, r.collector = false, watch{}, collector{}
	r.guard = guard{grace: r.config.Grace, clock: Clock{Reason: notCompared}}
	return r.failure
}

// admit waits until no live origin prevents this one, and returns its Joined.
func (r *Run) admit(ctx context.Context) (joined uint64, err error) {
	seen := watch{}
	for {
		if _, err := r.maintenance(ctx); err != nil {
			return 0, err
		}
		version, err := r.checkVersion(ctx)
		if err != nil {
			return 0, err
		}
		all, err := List(ctx, r)
		if err != nil {
			return 0, err
		}
		var writes []store.Write
		waiting := false
		now := r.config.Mono()
		for _, o := range all {
			joined = max(joined, o.Joined)
			if o.Ended {
				if o.Head == 0 { // of a broker that restarts again and again
					writes = append(writes, o.remove())
				}
				continue
			}
			objection := r.objection(o, version.MinReader)
			if objection == nil {
				continue
			}
			limit := maxSilence
			if o.Name == r.config.Name {
				limit = nameSilence
			}
			if _, known := seen[o.ID]; !known {
				r.config.Logger.Info("waiting until it is certain whether a broker that did not end its run still runs", "name", o.Name, "origin", o.ID, "at_most", limit)
			}
			waiting = true
			s, moved := seen.see(now, o)
			if moved {
				return 0, objection
			}
			if s.lasted >= limit {
				r.config.Logger.Info("ended the origin of a broker that no longer runs", "name", o.Name, "origin", o.ID)
				writes = append(writes, o.end())
			}
		}
		if !waiting && len(all) >= joinLimit {
			return 0, fmt.Errorf("%w: %d, at most %d; each remains until an hour after the end of its revocations: find out why brokers restart so often, or wait",
				ErrFull, len(all), joinLimit)
		}
		if len(writes) > 0 {
			for _, err := range r.writeAlone(ctx, writes...) { // if it was not written, the next look shows it
				if err != nil && ctx.Err() != nil {
					return 0, ctx.Err()
				}
			}
		}
		if !waiting {
			return joined + 1, nil
		}
		if err := r.config.Sleep(ctx, joinPoll); err != nil {
			return 0, err
		}
	}
}

// objection returns why this broker must not join while o runs, nil if it may. The store has that version.
func (r *Run) objection(o Origin, version int) error {
	who := fmt.Sprintf("%q at %q (origin %s)", o.Name, o.Address, o.ID)
	switch {
	case r.config.Maintenance != "":
		return fmt.Errorf("%w: %s", ErrRunning, who)
	case o.Name == r.config.Name:
		return fmt.Errorf("%w: %s: give each broker a name of its own", ErrNameTaken, who)
	case o.KEK != r.config.KEK:
		return fmt.Errorf("%w: %s has %s, this one %s", ErrOtherKEK, who, o.KEK, r.config.KEK)
	case o.Issuer != "" && r.config.Issuer != "" && o.Issuer != r.config.Issuer:
		return fmt.Errorf("%w: %s has %s, this one %s", ErrOtherIssuer, who, o.Issuer, r.config.Issuer)
	case version < o.Speaks[0] || version > o.Speaks[1]:
		return fmt.Errorf("%w: %s can use versions %d to %d, and the store has %d", ErrOtherVersion, who, o.Speaks[0], o.Speaks[1], version)
	case len(o.Outdated) > 0 && !r.config.Force:
		return fmt.Errorf("%w: %s hears %s: update them, or use --force, by which they become stale", ErrOutdated, who, strings.Join(o.Outdated, ", "))
	}
	return nil
}

// List reads the records of all origins, in the order of their ids.
func List(ctx context.Context, from store.Reader) ([]Origin, error) {
	const page = 256
	var all []Origin
	for after := ""; ; {
		records, err := from.List(ctx, Prefix, after, page)
		if err != nil {
			return nil, err
		}
		for _, stored := range records {
			o, err := originOf(stored)
			if err != nil {
				return nil, err
			}
			all = append(all, o)
			after = stored.Key
		}
		if len(records) < page {
			return all, nil
		}
	}
}

// writeAlone commits each write on its own, without the fence: its expectation is enough.
func (r *Run) writeAlone(ctx context.Context, writes ...store.Write) []error {
	changes := make([]store.Change, len(writes))
	for i, w := range writes {
		changes[i].Writes = []store.Write{w}
	}
	_, errs := r.engine.CommitFenced(ctx, store.Fence{}, changes, nil)
	return errs
}
