package validator

import (
	"context"
	"time"

	"tokenbroker/revocation"
)

// source is a syncer's part that a test replaces: its keys, its newest view and its denylist.
type source interface {
	key(ctx context.Context, kid string) (verificationKey, error)
	view() *view
	denylist() *revocation.Denylist
}

// viewBackend is a [backend] that reads a source's view as a syncer reads its own.
type viewBackend struct {
	source
	maxStaleness time.Duration
	wall         func() time.Time
}

var _ backend = (*viewBackend)(nil)

func newViewBackend(s source, maxStaleness time.Duration) *viewBackend {
	return &viewBackend{source: s, maxStaleness: maxStaleness, wall: time.Now}
}

func (b *viewBackend) read(own time.Duration) reading {
	return b.view().read(b.denylist(), b.maxStaleness, own, b.wall)
}

func (b *viewBackend) age() time.Duration { return monotonic() - b.view().asOf }
