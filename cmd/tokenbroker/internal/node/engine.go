package node

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/origins"
)

// disk is implemented by an engine that keeps its records on a disk of this machine.
type disk interface {
	// Writable returns nil if the engine accepts writes.
	Writable() error
	FreeBytes() (uint64, error)
}

// exporter is implemented by an engine whose records can be read with their expiry, as of one view, for a backup.
type exporter interface {
	Each(ctx context.Context, prefix string, fn func(store.Write) error) error
}

// openBadger opens the embedded engine in the data directory.
func (n *Node) openBadger(ctx context.Context) error {
	if err := n.finishRestore(); err != nil {
		return err
	}
	opened, err := badgerstore.Open(badgerstore.Config{
		Dir: StoreDir(n.cfg.DataDir), Lock: n.lock, Logger: n.cfg.Logger, FreeSpace: n.cfg.FreeSpace,
	})
	if err != nil {
		return adviseOnDamage(err)
	}
	n.store = opened
	n.onStop(func(context.Context) error { return opened.Close() })
	if err := origins.Startable(ctx, opened); err != nil {
		return adviseOnMaintenance(err)
	}
	n.aloneVersion, err = origins.RaiseAlone(ctx, opened, n.cfg.Speaks, n.cfg.Version)
	return err
}

// adviseOnMaintenance adds advice for the operator to the error of a store that a program has for itself.
func adviseOnMaintenance(err error) error {
	if !errors.Is(err, origins.ErrMaintenance) {
		return err
	}
	return fmt.Errorf("%w: wait until 'tokenbroker restore', 'tokenbroker floor raise' or 'tokenbroker migrate' has ended; if it was interrupted, run it again, or give up a migration from this store with 'tokenbroker migrate --cancel'", err)
}

// storeVersion returns the version of the store, in whose form records are written.
func (n *Node) storeVersion() int {
	if n.cluster != nil {
		return n.cluster.run.Version()
	}
	return n.aloneVersion
}

// writable returns nil if the store accepts writes.
func (n *Node) writable() error {
	if d, ok := n.store.(disk); ok {
		return d.Writable()
	}
	if reason := n.cluster.unready(); reason != "" {
		return errors.New(reason)
	}
	return n.cluster.full()
}

// engineName returns the name of the engine.
func (n *Node) engineName() string {
	switch n.cfg.Engine.(type) {
	case nil:
		return "badger"
	case memberEngine:
		return "etcd"
	case postgresEngine:
		return "postgres"
	}
	return "shared"
}

// freeBytes returns the free space on the disk of the store, 0 if it cannot be read or the store is not on one.
func (n *Node) freeBytes() uint64 {
	if d, ok := n.store.(disk); ok {
		if free, err := d.FreeBytes(); err == nil {
			return free
		}
	}
	return 0
}
