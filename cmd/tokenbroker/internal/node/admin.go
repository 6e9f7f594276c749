package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
	"tokenbroker/cmd/tokenbroker/internal/watch"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/backup"
)

// serveAdmin serves the operators' surface: on the unix socket to the process's own user and root, on the TCP
// listener to clients that have the token.
func (n *Node) serveAdmin() error {
	token := n.cfg.Admin.Token
	if token == "" && n.admin != nil {
		var err error
		if token, err = ownSecret(filepath.Join(n.cfg.DataDir, AdminTokenFile), "the admin token"); err != nil {
			return err
		}
	}
	var guard httpapi.Guard
	if n.cluster != nil {
		guard = n.cluster.guardAdmin
	}
	handler := admin.New(admin.Config{
		Guard:     guard,
		Operators: n.operators, Clients: n.operators, Revocations: n.ledger, Status: n.status, Readiness: n.readiness, Backup: n.backup,
		Watching: watching{n.watching}, Keys: operatorKeys{n}, JWKS: document(n.keys.JWKS), FeedJWKS: document(n.keys.FeedJWKS),
		Metrics: n.metrics.Handler(), Token: token, MetricsToken: n.cfg.Admin.MetricsToken, Hosts: n.cfg.Admin.Hosts,
		Logger: n.cfg.Logger, Audit: n.cfg.Audit, Observe: n.metrics.HTTP,
	})
	if n.socket != nil {
		n.socket.Serve(handler, nil, func(ctx context.Context, conn net.Conn) context.Context {
			return n.accepted(operatorOf(ctx, conn), conn)
		})
		n.onStop(n.socket.Shutdown)
	}
	if n.admin != nil {
		n.admin.Serve(handler, n.cfg.Admin.Certificate, n.accepted)
		n.onStop(n.admin.Shutdown)
	}
	return nil
}

// operatorOf adds the user at the other end of the socket to ctx.
func operatorOf(ctx context.Context, conn net.Conn) context.Context {
	if uid, ok := adminsocket.PeerUID(conn); ok {
		return admin.WithOperator(ctx, fmt.Sprintf("uid %d", uid))
	}
	return ctx
}

// status returns the answer of GET /admin/v1/status.
func (n *Node) status(ctx context.Context) admin.Status {
	checks := n.readiness(ctx)
	shards, committer := n.path.MailboxDepth()
	stats := n.publisher.Stats()
	s := admin.Status{
		Version: n.cfg.Version, PID: os.Getpid(), StartedAt: n.began.UTC(), Now: n.ledger.Now().UTC(),
		Ready: stateOf(checks), Checks: checks,
		Issuer: n.issuer, Listen: n.Addr(), DataDir: n.cfg.DataDir, Origins: n.api.Origins(),
		Store: admin.StoreStatus{
			ID: n.ledger.StoreID(), Writable: n.writable() == nil, FreeBytes: n.freeBytes(), Engine: n.engineName(), Version: n.storeVersion(),
			Members: n.cluster.engineMembers(), Postgres: n.cluster.postgresStatus(),
		},
		Ledger: admin.LedgerStatus{Origin: n.ledger.Origin(), Head: n.ledger.Head(), Backlog: stats.Backlog, OldestSeconds: stats.Oldest.Seconds()},
		NATS:   admin.NATSStatus{URL: withoutUser(n.NATSURL()), Embedded: n.nats != nil, Connected: n.bus.Connected()},
		Connections: admin.ConnectionsStatus{
			Open: n.publicConnections(), Max: n.files.Public, PerAddress: n.files.PerAddress,
			OpenFiles: n.files.Limit, OpenFilesWanted: n.files.Wanted, UnreadableForwarded: n.api.UnreadableForwarded(),
		},
		Keys:      []lifecycle.Label{},
		Providers: []admin.ProviderStatus{},
		Services:  n.services(),
		Mailboxes: map[string]int{"shard": shards, "committer": committer},
	}
	s.Cluster = n.cluster.status()
	if n.admin != nil {
		s.AdminListen = n.admin.Addr()
	}
	for _, k := range n.keys.List() {
		s.Keys = append(s.Keys, k.Label)
	}
	for _, name := range n.endUsers.Providers() {
		p := n.providers[name]
		s.Providers = append(s.Providers, admin.ProviderStatus{Name: name, Issuer: p.Issuer(), Issuers: p.Issuers(), Ready: p.Ready(ctx)})
	}
	return s
}

// withoutUser removes users and passwords from a list of URLs.
func withoutUser(list string) string {
	urls := strings.Split(list, ",")
	for i, text := range urls {
		if u, err := url.Parse(strings.TrimSpace(text)); err == nil {
			u.User = nil
			urls[i] = u.String()
		}
	}
	return strings.Join(urls, ",")
}

// AdminTokenFile is the file of the operators' bearer token in the data directory.
const AdminTokenFile = "admin-token"

// startWatching starts the hub of GET /admin/v1/watch, which works only while an operator watches.
func (n *Node) startWatching() {
	config := watch.Config{
		Ledger: n.ledger, Broadcast: n.publisher, Receipts: n.receipts, Mono: n.mono, Logger: n.cfg.Logger,
		Username: n.username,
	}
	if n.cluster != nil {
		config.BrokerName = n.cluster.brokerOf
	}
	n.watching = watch.New(config)
	n.background(n.watching.Run)
}

// username returns the name of the user whose tokens an event revokes, or "".
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
	return "" // of no user, or of one that cannot be read: operators still see the id
}

// showKey shows a change of the keyring to the operators who watch.
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

// backup writes all records as of one moment, encrypted under the KEK of that moment. The private keys in them
// remain sealed.
func (n *Node) backup(ctx context.Context, w io.Writer) error {
	var engine store.Reader = n.store
	if n.cluster != nil {
		engine = n.cfg.Engine
	}
	records, ok := engine.(exporter)
	if !ok {
		return &broker.Error{Code: broker.CodeUnavailable, Message: "The store cannot be backed up."}
	}
	// There must be no reseal between the choice of the KEK and the moment of the records: one KEK opens
	// all of a backup.
	n.kek.mu.Lock()
	unlock := sync.OnceFunc(n.kek.mu.Unlock)
	defer unlock()
	b, err := backup.NewWriter(ctx, w, backup.Header{
		Store: n.ledger.StoreID(), TakenAt: n.ledger.Now().Unix(), Wall: n.cfg.Wall().Unix(), Version: n.cfg.Version,
	}, n.kek.backups)
	if err != nil {
		return fmt.Errorf("writing the head of a backup: %w", err)
	}
	confirm := store.Confirmation(engine)
	err = records.Each(ctx, "", func(r store.Write) error {
		unlock() // the records are those at the start of Each
		return b.Add(r)
	})
	if err == nil {
		err = confirm(ctx) // a file without its end cannot be restored
	}
	if err != nil {
		return fmt.Errorf("writing the records: %w", unavailable(err))
	}
	if err := b.Close(); err != nil {
		return fmt.Errorf("ending the backup: %w", err)
	}
	return nil
}
