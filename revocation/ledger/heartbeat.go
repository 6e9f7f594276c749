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

// heartbeats sends one at once, each second and at a Poke, until ctx ends. They do not
// wait for a backlog: heads make visible what did not go out.
func (p *Publisher) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	failing := false
	for {
		err := p.heartbeat()
		if err != nil && !failing {
			p.config.Logger.Warn("sending heartbeats fails", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-p.poked:
		}
	}
}

func (p *Publisher) heartbeat() error {
	message, err := p.config.Sign(revocation.HeartbeatType, p.config.Ledger.Heartbeat(p.config.JWKSETag()))
	if err != nil {
		return err
	}
	return p.config.Bus.Publish(revocation.HeartbeatSubject+p.config.Ledger.origin, message)
}
