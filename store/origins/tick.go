package origins

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tokenbroker/store"
)

// maxHousekeeping is the number of records that one tick ends or removes.
const maxHousekeeping = 16

// Tick observes the other brokers and keeps the own record fresh. The owner calls it each second, and sooner after a hint
// that records changed, at most ten times a second. ctx should have a deadline of about a second.
//
// It reads a view, observes clocks and silence, commits if the own record was unchanged for 5 s, ends origins
// that are silent, and removes ended ones: at once without batches, otherwise when the last batch was collected and an hour has
// passed. It raises the version of the store if all live brokers can use a higher one. It settles a commit whose outcome is unknown. The error is [store.ErrFenced] if another broker has ended
// the origin; [ErrRewound], [ErrNameTaken] and [ErrStoreVersion] are fatal; any other error is a failure of the engine.
func (r *Run) Tick(ctx context.Context) error {
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	if err := r.failed(); err != nil {
		return err
	}
	news, due, silent, err := r.observe(v)
	if err != nil {
		return err
	}
	writes := make([]store.Write, 0, len(silent))
	for _, o := range silent {
		r.config.Logger.Warn("ended the origin of a silent broker", "name", o.Name, "origin", o.ID)
		writes = append(writes, o.end())
	}
	removals, err := r.removals(ctx, v)
	if err != nil {
		return err
	}
	writes = append(writes, removals...)
	if writes = writes[:min(len(writes), maxHousekeeping)]; len(writes) > 0 {
		r.writeAlone(ctx, writes...) // what was not written is tried again
	}
	if err := r.raise(ctx, v); err != nil {
		return err
	}
	return r.beat(ctx, news || due)
}

// observe records what a view shows. It reports whether there is a broker that has not been seen before, whether the own record has been
// unchanged for too long, and the origins that have to be ended.
func (r *Run) observe(v *View) (news, due bool, silent []Origin, err error) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guard.step(now)
	r.watch.forget(v)
	for _, o := range v.Live() {
		if o.ID == r.own.ID {
			continue
		}
		_, known := r.watch[o.ID]
		s, moved := r.watch.see(v.done, o)
		news = news || !known
		if moved && o.Name == r.own.Name {
			if r.own.younger(o) {
				return news, due, nil, fmt.Errorf("%w: %q at %q (origin %s): give each broker a name of its own", ErrNameTaken, o.Name, o.Address, o.ID)
			}
			r.config.Logger.Error("another running broker has the same name; it has to end", "name", o.Name, "address", o.Address, "origin", o.ID)
		}
		if s.lasted >= maxSilence {
			silent = append(silent, o)
		}
	}
	r.guard.observe(now, v, r.own)
	if c := r.guard.clock; c.Reason != r.reported {
		switch r.reported = c.Reason; c.Reason {
		case "":
			r.config.Logger.Info("the clocks of the brokers agree", "offset", c.Offset)
		case notCompared: // so each start begins
			r.config.Logger.Info("clock: "+c.Reason, "ready", c.OK)
		default:
			r.config.Logger.Error("clock: "+c.Reason, "ready", c.OK, "offset", c.Offset)
		}
	}
	return news, now.mono-r.committed >= beatEvery, silent, nil
}

// removals returns the writes that remove ended origins.
func (r *Run) removals(ctx context.Context, v *View) ([]store.Write, error) {
	var writes []store.Write
	for _, o := range v.Origins {
		if !o.Ended || o.ID == r.Origin() || len(writes) == maxHousekeeping {
			continue
		}
		if o.Head > 0 {
			due := r.dueForRemoval(v.done, o)
			if !due {
				continue
			}
			left, err := r.List(ctx, batchPrefix+o.ID+".", "", 1)
			if err != nil {
				return nil, err
			}
			if len(left) > 0 {
				continue
			}
		}
		writes = append(writes, o.remove())
	}
	return writes, nil
}

// dueForRemoval reports whether it is time to look whether an ended origin has batches: an hour after it was first
// seen, and every minute from then on.
func (r *Run) dueForRemoval(now time.Duration, o Origin) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, _ := r.watch.see(now, o)
	if now-s.since < keepEnded || s.looked != 0 && now-s.looked < time.Minute {
		return false
	}
	s.looked = now
	return true
}

// beat settles an open attempt, and commits no change if the record has to move. While another commit runs it does nothing.
func (r *Run) beat(ctx context.Context, due bool) error {
	select {
	case r.turn <- struct{}{}:
	default:
		return nil
	}
	defer r.release()
	err := r.settleOpen(ctx)
	if err == nil && due {
		err = r.commit(ctx, []store.Change{{}}, nil)[0]
	}
	return err
}

// Live returns the number of live origins at the last view, at least one.
func (r *Run) Live() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		return 1
	}
	return max(1, len(r.last.Live()))
}

// AccessLife returns the longest life of an access token that a live broker signs, in whole seconds: that of this run or of another
// one at the last view.
func (r *Run) AccessLife() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	longest := wholeSeconds(r.config.AccessLife)
	if r.last != nil {
		for _, o := range r.last.Live() {
			longest = max(longest, o.AccessS)
		}
	}
	return time.Duration(longest) * time.Second
}

// Clock returns what the last tick found about the clocks.
func (r *Run) Clock() Clock {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.guard.clock
}

// Silent reports whether the broker must send no heartbeat and no catch-up answer and must not collect, and why: its
// clock is not trusted, its origin has ended, or it has not read a view since it joined.
func (r *Run) Silent() (reason string, silent bool) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guard.step(now)
	switch {
	case r.failure != nil:
		return r.failure.Error(), true
	case !r.viewed:
		return "the other brokers have not been read yet", true
	}
	return r.guard.clock.Reason, !r.guard.clock.OK
}

// Member is a broker as an operator sees it.
type Member struct {
	Name, Address, Origin, Build string
	// Live says that the origin has not ended.
	Live bool
	// Speaks has the lowest and the highest version of the store that it can use.
	Speaks [2]int
	// Since is the broker's wall clock when it joined.
	Since time.Time
	// Offset is by how much its clock is ahead of this broker's; zero if Compared is false.
	Offset   time.Duration
	Compared bool
	// EngineMS is [Record.EngineMS].
	EngineMS float64
	// Collector says that it last collected expired revocations.
	Collector bool
}

// Members returns the brokers of the last view, the newest last.
func (r *Run) Members() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		return nil
	}
	all := slices.SortedFunc(slices.Values(r.last.Origins), func(a, b Origin) int {
		if a.younger(b) {
			return 1
		}
		return -1
	})
	members := make([]Member, len(all))
	for i, o := range all {
		members[i] = Member{
			Name: o.Name, Address: o.Address, Origin: o.ID, Build: o.Build, Live: !o.Ended, Speaks: o.Speaks, Since: time.UnixMilli(o.SinceMS),
			Collector: r.last.collector.Origin == o.ID, EngineMS: o.EngineMS,
		}
		members[i].Offset, members[i].Compared = r.guard.offset(o.ID)
		if o.ID == r.own.ID {
			members[i].Compared = true
		}
	}
	return members
}
