package memstore

import (
	"context"
	"maps"
	"sync/atomic"

	"tokenbroker/store"
)

var (
	_ store.Engine    = (*Primary)(nil)
	_ store.Confirmer = (*Primary)(nil)
)

// Primary is a [Handle] on a primary server that another one can replace without its knowledge, so that its reads have to be
// confirmed.
type Primary struct {
	*Handle
	number  atomic.Uint64
	current *Engine
}

// OpenPrimary is [Engine.Open] for a connection to a primary.
func (e *Engine) OpenPrimary(faults func(Op) Fault) *Primary {
	return &Primary{Handle: e.Open(faults), current: e}
}

// Replace makes the primary an old one, which other handles do not use. It reads the records as they are now. A commit
// through it gets [store.ErrUncertain] and is visible only there; a confirmation fails.
func (p *Primary) Replace() {
	now := p.current.table.snapshot()
	p.engine.Store(&Engine{table: &table{now: now.now, records: maps.Clone(now.records), revision: p.current.table.last()}, replaced: true})
}

// Reconnect connects to the server that has replaced the primary.
func (p *Primary) Reconnect() {
	p.number.Add(1)
	p.engine.Store(p.current)
}

// Primary implements [store.Confirmer].
func (p *Primary) Primary() uint64 { return p.number.Load() }

// Confirm implements [store.Confirmer].
func (p *Primary) Confirm(ctx context.Context) error {
	switch fault := p.faults(Op{Kind: OpConfirm}); {
	case fault == Keep:
		<-ctx.Done()
		return ctx.Err()
	case fault != OK, p.engine.Load().replaced:
		return store.ErrUnavailable
	}
	return ctx.Err()
}
