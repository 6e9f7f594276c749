package node

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
	"tokenbroker/keyring/lifecycle"
)

// serveAdmin opens the operators' surface: to the own user and root on the unix socket, to
// whoever has the token on the TCP address.
func (n *Node) serveAdmin() error {
	token := n.cfg.Admin.Token
	if token == "" && n.admin != nil {
		var err error
		if token, err = ownSecret(filepath.Join(n.cfg.DataDir, AdminTokenFile), "the admin token"); err != nil {
			return err
		}
	}
	handler := admin.New(admin.Config{
		Operators: n.operators, Revocations: n.ledger, Status: n.status, Readiness: n.readiness, Backup: n.backup,
		Watching: watching{n.watching}, Keys: operatorKeys{n}, JWKS: document(n.keys.JWKS), FeedJWKS: document(n.keys.FeedJWKS),
		Metrics: n.metrics.Handler(), Token: token, MetricsToken: n.cfg.Admin.MetricsToken, Hosts: n.cfg.Admin.Hosts,
		Logger: n.cfg.Logger, Audit: n.cfg.Audit, Observe: n.metrics.HTTP,
	})
	if n.socket != nil {
		n.socket.Serve(handler, nil, operatorOf)
		n.onStop(n.socket.Shutdown)
	}
	if n.admin != nil {
		n.admin.Serve(handler, n.cfg.Admin.Certificate, nil)
		n.onStop(n.admin.Shutdown)
	}
	return nil
}

// operatorOf names the user at the other end of the socket.
func operatorOf(ctx context.Context, conn net.Conn) context.Context {
	if uid, ok := adminsocket.PeerUID(conn); ok {
		return admin.WithOperator(ctx, fmt.Sprintf("uid %d", uid))
	}
	return ctx
}

// status is what an operator wants to know at a glance.
func (n *Node) status(ctx context.Context) admin.Status {
	checks := n.readiness(ctx)
	shards, committer := n.path.MailboxDepth()
	free, _ := n.store.FreeBytes() // what cannot be read is 0, and Writable says why
	stats := n.publisher.Stats()
	s := admin.Status{
		Version: n.cfg.Version, PID: os.Getpid(), StartedAt: n.began.UTC(), Now: n.ledger.Now().UTC(),
		Ready: stateOf(checks), Checks: checks,
		Issuer: n.issuer, Listen: n.Addr(), DataDir: n.cfg.DataDir, Origins: n.api.Origins(),
		Store:  admin.StoreStatus{ID: n.ledger.StoreID(), Writable: n.store.Writable() == nil, FreeBytes: free},
		Ledger: admin.LedgerStatus{Origin: n.ledger.Origin(), Head: n.ledger.Head(), Backlog: stats.Backlog, OldestSeconds: stats.Oldest.Seconds()},
		NATS:   admin.NATSStatus{URL: withoutUser(n.NATSURL()), Embedded: n.nats != nil, Connected: n.bus.Connected()},
		Connections: admin.ConnectionsStatus{
			Open: n.public.Counts().Open, Max: n.files.Public, PerAddress: n.files.PerAddress,
			OpenFiles: n.files.Limit, OpenFilesWanted: n.files.Wanted, UnreadableForwarded: n.api.UnreadableForwarded(),
		},
		Keys:      []lifecycle.Label{},
		Providers: []admin.ProviderStatus{},
		Services:  n.services(),
		Mailboxes: map[string]int{"shard": shards, "committer": committer},
	}
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

// withoutUser cuts user and password out of a list of URLs.
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

// AdminTokenFile holds the operators' bearer token, in the data directory.
const AdminTokenFile = "admin-token"
