package oauthclient

import (
	"context"
	"time"

	"tokenbroker/broker/directory"
	"tokenbroker/store"
)

// touchEvery is how often the use of a client that registered itself is recorded, at most, and touchShare the share of UnusedAfter if that
// is shorter.
const (
	touchEvery = 24 * time.Hour
	touchShare = 10
)

// touch moves the end of a client that registered itself, because it was used now. Most calls write nothing. A failure is only logged: the
// client's tokens are issued, and its next use tries again.
func (svc *Service) touch(ctx context.Context, client directory.ClientRecord) {
	if client.Registration == nil {
		return
	}
	end := svc.cfg.Clock.Now().Add(svc.cfg.UnusedAfter).Unix()
	due := func(r directory.Registration) bool {
		return end-r.ExpiresAt >= int64(min(touchEvery, svc.cfg.UnusedAfter/touchShare)/time.Second) && end > r.ExpiresAt
	}
	if !due(*client.Registration) {
		return
	}
	if _, running := svc.touching.LoadOrStore(client.ID, true); running {
		return
	}
	defer svc.touching.Delete(client.ID)
	err := svc.path.Update(ctx, func() (*store.Change, error) {
		stored, rev, err := directory.ReadClient(ctx, svc.cfg.Store, client.ID)
		if err != nil || stored.Removed || stored.Registration == nil || !due(*stored.Registration) {
			return nil, err
		}
		moved := *stored.Registration
		moved.ExpiresAt, stored.Registration = end, &moved
		write, err := stored.Write(rev)
		return &store.Change{Writes: []store.Write{write}}, err
	})
	if err != nil {
		svc.cfg.Logger.WarnContext(ctx, "the use of a client that registered itself cannot be recorded", "client_id", client.ID, "error", err)
	}
}
