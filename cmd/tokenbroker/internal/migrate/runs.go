package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// keepAlive commits to both runs from time to time, so that no other program takes the stores. The context that it returns ends
// with an error of that. stop ends the goroutine and returns the error.
func (r *run) keepAlive(ctx context.Context) (_ context.Context, stop func() error) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(beatEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			for _, one := range []*origins.Run{r.source, r.target} {
				err := one.Commit(ctx, []store.Change{{}}, nil)[0]
				if errors.Is(err, store.ErrFenced) {
					cancel(fmt.Errorf("another program has taken the store: %w", err))
					return
				}
			}
		}
	}()
	var failure error
	stopped := false
	return ctx, func() error {
		if stopped {
			return nil
		}
		stopped = true
		if cause := context.Cause(ctx); errors.Is(cause, store.ErrFenced) {
			failure = cause
		}
		cancel(nil)
		<-ended
		return failure
	}
}

// ErrNoMigration is returned by [Cancel] for a store that was not left in maintenance by a migration from it.
var ErrNoMigration = errors.New("no migration from this store was interrupted")

// Cancel lets brokers start again with the source of a migration that was killed before it marked the source. It uses neither To
// nor Progress of the configuration. Brokers still cannot start with the target.
func Cancel(ctx context.Context, cfg Config) error {
	cfg.defaults()
	m, err := origins.ReadMaintenance(ctx, cfg.From.Engine)
	if err == nil && (m.What != origins.Migration || m.Replaces) {
		err = fmt.Errorf("%w: %s", ErrNoMigration, cfg.From.Where)
	}
	if err != nil {
		return err
	}
	r := &run{Plan: &Plan{cfg: cfg}}
	if r.source, err = r.join(ctx, cfg.From); err != nil {
		return err
	}
	return r.release(ctx)
}

// release ends both runs after a failure. Brokers may start with the source, and with the target if it was not changed.
func (r *run) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	var errs []error
	for _, one := range []*origins.Run{r.source, r.target} {
		if one != nil {
			errs = append(errs, letGo(ctx, one))
		}
	}
	r.tidy(ctx)
	return errors.Join(errs...)
}

// letGo ends a run. The store stays in maintenance if it is incomplete.
func letGo(ctx context.Context, one *origins.Run) error {
	m, err := origins.ReadMaintenance(ctx, one)
	if err == nil && !m.Replaces {
		err = one.Finish(ctx)
	} else {
		err = errors.Join(err, one.Leave(ctx))
	}
	return err
}

// tidy removes the records of such runs from stores of a single broker. Brokers that share a store do so themselves. What remains
// after a failure is removed by the next migration.
func (r *run) tidy(ctx context.Context) {
	for _, side := range []Side{r.cfg.From, r.cfg.To} {
		if !side.Single {
			continue
		}
		if err := removeRuns(ctx, side.Engine); err != nil {
			r.cfg.Logger.Warn("the record of the migration remains in the store", "store", side.Where, "error", err)
		}
	}
}

func removeRuns(ctx context.Context, engine store.Engine) error {
	all, err := origins.List(ctx, engine)
	if err != nil {
		return err
	}
	var change store.Change
	for _, o := range all {
		if o.Ended && o.Head == 0 && strings.HasPrefix(o.Name, program) {
			change.Writes = append(change.Writes, store.Write{Key: origins.Key(o.ID), Delete: true, Expect: o.Revision})
		}
	}
	_, errs := engine.CommitFenced(ctx, store.Fence{}, []store.Change{change}, nil)
	return errs[0]
}

// cause returns why ctx has ended, and err if it has not.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
