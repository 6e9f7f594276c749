package ledger

import (
	"context"
	"time"

	"tokenbroker/revocation"
)

// Heartbeat returns the heartbeat of this moment: up is read before the head, so that all
// acknowledged before up is in a batch at or below head. jwks is the token JWKS's ETag.
func (l *Ledger) Heartbeat(jwks string) revocation.Heartbeat {
	up := l.Up()
	floor := l.TimeFloor()
	return revocation.Heartbeat{
		V: revocation.Version, Store: l.storeID, Origin: l.origin,
		Head: l.Head(), Up: up,
		AtMS: max(l.Now().UnixMilli(), floor*1000), TimeFloor: floor,
		JWKS: jwks,
	}
}

// heartbeats makes one at once, each second and at a poke, until ctx ends. They do not wait
// for a backlog: heads make visible what did not go out.
func (h *Hub) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	failing := false
	for {
		message, err := h.sign(revocation.HeartbeatType, h.ledger.Heartbeat(h.etag()))
		if err == nil {
			h.update(func(s *hubState) { s.beat, s.beats = message, s.beats+1 })
		} else if !failing {
			h.logger.Error("signing heartbeats fails", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-h.poked:
		}
	}
}

// heartbeats publishes each of the hub's, the newest when the network was too slow for some.
func (p *Publisher) heartbeats(ctx context.Context) {
	failing := false
	for sent := uint64(0); ; {
		s := p.hub.now.Load()
		if s.beats > sent {
			sent = s.beats
			err := p.config.Bus.Publish(revocation.HeartbeatSubject+p.config.Ledger.origin, s.beat)
			if err != nil && !failing {
				p.config.Logger.Warn("sending heartbeats fails", "error", err)
			}
			failing = err != nil
			continue
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return
		}
	}
}
