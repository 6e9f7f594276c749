package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/keyring"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

const (
	// tickEvery is how often a broker reads what the others have recorded, and hintPause the shortest time between
	// two such readings.
	tickEvery = time.Second
	hintPause = 100 * time.Millisecond
	// tickTimeout bounds one reading.
	tickTimeout = 2 * time.Second
	// leaveTimeout bounds what a stop waits to tell the other brokers.
	leaveTimeout = time.Second
	// overdueAfter is how old the latest reading is when the broker stops accepting requests that write.
	overdueAfter = 3 * time.Second
)

// cluster is the part of a node that depends on the other brokers of its store.
type cluster struct {
	*Node
	run    *origins.Run
	sweep  *origins.Sweep // nil if the engine deletes expired records by itself
	pauses *pauses
	// read is when the latest reading of the other brokers' records began, by Node.mono, in nanoseconds.
	read atomic.Int64
	took atomic.Int64 // how long it took, in nanoseconds
	// barrier is [ledger.Ledger.Barrier], proved is [ledger.Ledger.Proved], and lags is [ledger.Ledger.Lags].
	barrier func(context.Context) error
	proved  func() time.Duration
	lags    func() error
	// members is the state of the engine's members when they were last asked.
	members atomic.Pointer[[]admin.EngineMember]
	// postgres is the state of the engine's primary when it was last asked.
	postgres atomic.Pointer[postgresState]
	// wake makes keep read at once.
	wake chan struct{}
}

// join makes a store of the shared engine for this run of the broker.
func (n *Node) join(ctx context.Context) error {
	kek := n.cfg.KEK
	if kek == nil {
		own, err := n.ownKEK(ctx, store.Confirmed(n.cfg.Engine))
		if err != nil {
			return err
		}
		if kek, err = own.load(); err != nil {
			return err
		}
	}
	c := &cluster{Node: n, pauses: newPauses(n.mono, n.cfg.Wall), wake: make(chan struct{}, 1)}
	run, err := origins.Join(ctx, origins.Config{
		Engine: n.metrics.Engine(n.cfg.Engine), Name: n.cfg.Name, Address: n.addr, Build: n.cfg.Version, KEK: keyring.Fingerprint(kek),
		Issuer: n.issuer, AccessLife: n.cfg.Policy.AccessLife,
		Wall: n.cfg.Wall, Mono: n.mono, Force: n.cfg.Force, Grace: n.cfg.Policy.Grace, Logger: n.cfg.Logger,
		Outdated: n.outdated, Speaks: n.cfg.Speaks,
	})
	switch {
	case errors.Is(err, origins.ErrNameTaken):
		return fmt.Errorf("%w: give each broker its own name by %s", err, n.cfg.Setting("store.broker_name"))
	case errors.Is(err, origins.ErrOtherKEK):
		return fmt.Errorf("%w: all brokers need the same %s", err, n.cfg.Setting("keyring.kek"))
	case errors.Is(err, origins.ErrMaintenance):
		return adviseOnMaintenance(err)
	case errors.Is(err, origins.ErrOtherIssuer):
		return fmt.Errorf("%w: all brokers need the same %s", err, n.cfg.Setting("public_url"))
	case errors.Is(err, origins.ErrOutdated):
		return fmt.Errorf("%w: update the services' validator first, or start with --force; these services then become stale", err)
	case err != nil:
		return err
	}
	c.run, n.cluster, n.store = run, c, sharedStore{run, c.pauses}
	if sweeper, ok := n.cfg.Engine.(store.Sweeper); ok {
		c.sweep = run.NewSweep(sweeper)
	}
	n.onStop(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
		defer cancel()
		if err := run.Leave(ctx); err != nil {
			n.cfg.Logger.Warn("the other brokers take this one for running, for up to 30 s", "error", err)
		}
		return nil
	})
	return nil
}

// pulse notices pauses of the process.
func (c *cluster) pulse(ctx context.Context) error {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if c.pauses.pulse() {
			c.cfg.Logger.Warn("the process was stopped for some time: requests of that time are refused")
			select {
			case c.wake <- struct{}{}:
			default:
			}
		}
	}
}

// keep reads the records of the other brokers each second and when they may have changed, which also keeps the own
// one current, until ctx ends. An error means that the process has to end.
func (c *cluster) keep(ctx context.Context) error {
	hints := c.run.Follow(ctx, origins.Prefix)
	failing := false
	for {
		err := c.tick(ctx)
		if errors.Is(err, store.ErrFenced) {
			err = c.path.Rejoin(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, origins.ErrRewound), errors.Is(err, origins.ErrNameTaken), errors.Is(err, origins.ErrStoreVersion):
			return err
		}
		if failed := err != nil; failed != failing {
			failing = failed
			if failed {
				c.cfg.Logger.Error("the shared store cannot be read", "error", err)
			} else {
				c.cfg.Logger.Info("the shared store can be read again")
			}
		}
		if !c.pause(ctx, hints) {
			return nil
		}
	}
}

// followKeys makes the keyring read its record when another broker may have changed it.
func (c *cluster) followKeys(ctx context.Context) error {
	hints := c.run.Follow(ctx, KeyringKey)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hints:
			c.keys.Refresh()
		}
	}
}

// tick reads the records of the other brokers.
func (c *cluster) tick(ctx context.Context) error {
	began := c.mono()
	ctx, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	if err := c.run.Tick(ctx); err != nil {
		return err
	}
	c.read.Store(int64(began))
	c.took.Store(int64(c.mono() - began))
	c.pauses.stored(began)
	c.copies.settle(began, c.onRecord)
	c.deny.SetKids(c.keys.Compromised()) // also those that another broker has reported
	return nil
}

// onRecord reports whether the latest reading has that origin.
func (c *cluster) onRecord(origin string) bool {
	for _, m := range c.run.Members() {
		if m.Origin == origin {
			return true
		}
	}
	return false
}

// pause waits for the next reading. It reports whether ctx is still running.
func (c *cluster) pause(ctx context.Context, hints <-chan struct{}) bool {
	next, least := time.NewTimer(tickEvery), time.NewTimer(hintPause)
	defer next.Stop()
	defer least.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-c.wake:
		return true
	case <-least.C:
	}
	select {
	case <-ctx.Done():
		return false
	case <-hints:
	case <-c.wake:
	case <-next.C:
	}
	return true
}

// silent returns why this broker must say nothing about keys, sessions and revocations now, "" if it may: its clock is not
// confirmed, or its origin has ended.
func (c *cluster) silent() string {
	reason, silent := c.run.Silent()
	if !silent {
		return ""
	}
	return cmp.Or(reason, "this broker is silent")
}

// outdatedKeys returns why this broker must not sign or publish keys, "" if it may.
func (c *cluster) outdatedKeys() string {
	if reason := c.silent(); reason != "" {
		return reason
	}
	if c.keys.Outdated() != nil {
		return "the keyring has not been read for too long"
	}
	return ""
}

// unready returns why this broker must not sign or write, "" if it may.
func (c *cluster) unready() string {
	if reason := c.outdatedKeys(); reason != "" {
		return reason
	}
	if c.overdue() {
		return fmt.Sprintf("the shared store has not answered for %d s", int((c.mono() - time.Duration(c.read.Load())).Seconds()))
	}
	return ""
}

// overdue reports whether the store has not answered for a longer time than an election takes.
func (c *cluster) overdue() bool { return c.mono()-time.Duration(c.read.Load()) > overdueAfter }
