package node

import (
	"context"
	"errors"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/watch"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
)

// startWatching makes what shows operators what happens; it works while somebody watches.
func (n *Node) startWatching() {
	n.watching = watch.New(watch.Config{
		Ledger: n.ledger, Broadcast: n.publisher, Receipts: n.receipts, Mono: n.mono, Logger: n.cfg.Logger,
		Username: n.username,
	})
	n.background(n.watching.Run)
}

// username is the name of the user whom a revocation hits, or "".
func (n *Node) username(ctx context.Context, e revocation.Event) string {
	switch e.Kind {
	case revocation.KindSub:
		user, err := n.operators.User(ctx, e.Value)
		if err == nil && user.UID == e.Value { // a local name may look like an id
			return user.Username
		}
	case revocation.KindSID:
		if check, err := n.operators.CheckRevocation(ctx, e.Kind, e.Value); err == nil && check.Session != nil {
			return check.Session.Username
		}
	}
	return "" // of no user, or of one that cannot be read: who watches still sees the id
}

// showKey shows a change of the keyring to who watches.
func (n *Node) showKey(c lifecycle.Change) {
	n.watching.Key(admin.WatchKey{
		What: c.What, KID: c.Key.KID, Purpose: string(c.Key.Purpose), Algorithm: string(c.Key.Algorithm), State: string(c.Key.State), At: c.At.UTC(),
	})
}

// watching answers GET /admin/v1/watch.
type watching struct{ hub *watch.Hub }

var _ admin.Watching = watching{}

// Watch implements [admin.Watching].
func (w watching) Watch() (admin.Watcher, error) {
	watcher, err := w.hub.Watch()
	switch {
	case errors.Is(err, watch.ErrTooMany):
		return nil, &broker.Error{Code: broker.CodeBusy, Message: "Too many are watching.", RetryAfter: listenLater, Err: err}
	case errors.Is(err, watch.ErrClosed):
		return nil, &broker.Error{Code: broker.CodeUnavailable, Message: "The broker is stopping.", RetryAfter: time.Second, Err: err}
	case err != nil:
		return nil, err
	}
	return watcher, nil
}
