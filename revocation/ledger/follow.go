package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tokenbroker/store/origins"
)

const (
	// followEvery is the longest time between two views without a hint, followPause the shortest.
	followEvery = time.Second
	followPause = 100 * time.Millisecond
)

// view returns what the brokers have recorded, read after the call. It fails if the engine does not answer
// within [viewWait]. The time floor of the view is in force when it returns.
func (s *sharedRecord) view(ctx context.Context) (*origins.View, error) {
	limited, cancel := context.WithTimeout(ctx, viewWait)
	defer cancel()
	v, err := s.run.View(limited)
	if err != nil {
		if errors.Is(err, origins.ErrRewound) {
			s.end(err)
		}
		return nil, fmt.Errorf("%w: reading the heads of all brokers: %w", ErrNoView, err)
	}
	if v.Store != s.l.storeID {
		err := fmt.Errorf("%w: the engine has the store %q, this broker was started on %q", origins.ErrRewound, v.Store, s.l.storeID)
		s.end(err)
		return nil, err
	}
	s.followTimeFloor(v)
	return v, nil
}

// end ends the process: Run returns err.
func (s *sharedRecord) end(err error) {
	select {
	case s.fatal <- err:
	default:
	}
}

// speak returns an error while this broker must neither answer nor send heartbeats.
func (s *sharedRecord) speak() error {
	if reason, silent := s.run.Silent(); silent {
		return fmt.Errorf("%w: %s", ErrSilent, reason)
	}
	return nil
}

// barrier returns a view that was read after the call, once the memory has everything that it names.
func (s *sharedRecord) barrier(ctx context.Context) (*origins.View, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.reach(ctx, v); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proved = max(s.proved, v.Read)
	return v, nil
}

// reach reads the batches that the memory lacks up to the heads of a view. A batch that is not there was
// collected.
func (s *sharedRecord) reach(ctx context.Context, v *origins.View) error {
	s.observe(v)
	if missing, gap := s.missing(v); len(missing) == 0 && !gap {
		return nil
	}
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	missing, _ := s.missing(v) // another call has read some of them
	errs := make([]error, len(missing))
	var group sync.WaitGroup
	for i, o := range missing {
		group.Go(func() { errs[i] = s.readOrigin(ctx, o) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.closeGap(ctx)
}

// closeGap puts the time floor in force that is past the end of what was collected before this process read it. The
// caller holds reading.
func (s *sharedRecord) closeGap(ctx context.Context) error {
	s.mu.Lock()
	gap := s.gap
	s.mu.Unlock()
	if !gap {
		return nil
	}
	if _, err := s.view(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gap = false
	return nil
}

// observe takes over which origins there are.
func (s *sharedRecord) observe(v *origins.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Read < s.seen {
		return // views may arrive in any order
	}
	s.seen, s.recorded = v.Read, v.Heads()
	there := map[string]bool{s.own: true}
	for _, o := range v.Origins {
		there[o.ID] = true
		s.log.origin(o.ID)
	}
	for id := range s.log.origins {
		if !there[id] { // its batches were collected long ago
			delete(s.log.origins, id)
			delete(s.bad, id)
		}
	}
}

// missing returns the origins with a head above that in memory, and whether there is a gap. This includes the own origin
// after a commit that this process has not heard of.
func (s *sharedRecord) missing(v *origins.View) (all []origins.Origin, gap bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range v.Origins {
		if known := s.log.origins[o.ID]; known == nil || known.head < o.Head {
			all = append(all, o)
		}
	}
	return all, s.gap
}

// follow keeps the memory up to date until ctx ends: at a hint, each second, and at most ten times a second.
func (s *sharedRecord) follow(ctx context.Context) {
	hints := s.run.Follow(ctx, origins.Prefix)
	failing := false
	for {
		_, err := s.barrier(ctx)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.lags = err
		s.mu.Unlock()
		if err != nil && !failing {
			s.l.config.Logger.Warn("what other brokers have recorded cannot be read", "error", err)
		} else if err == nil && failing {
			s.l.config.Logger.Info("what other brokers have recorded can be read again")
		}
		failing = err != nil
		if !wait(ctx, followPause, nil) || !wait(ctx, followEvery-followPause, hints) {
			return
		}
	}
}

// wait waits for d or for wake. It reports whether ctx is still running.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-wake:
		return true
	case <-ctx.Done():
		return false
	}
}
