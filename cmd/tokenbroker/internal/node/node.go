// Package node wires a broker process. It is the only package that imports the store, the ledger, the
// keyring, the use cases, the network and the HTTP surface.
package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tokenbroker/api"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/enduser"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/receipts"
	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/cmd/tokenbroker/internal/watch"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

const (
	// drainTimeout is the longest time that a clean stop takes.
	drainTimeout = 7 * time.Second
	// startPatience is how long a start is repeated that a shared store does not answer, and startPause the time between
	// two attempts.
	startPatience = 20 * time.Second
	startPause    = time.Second
)

// Node is a running broker process. Close it to drain and stop.
type Node struct {
	cfg    Config
	issuer string
	began  time.Time
	// addr is the address of the public listener, which may be opened later.
	addr string
	// admin is nil without a TCP address for operators.
	admin, socket, public *httpserver.Server
	// publicIPv6 is the public listener on [::1], or nil.
	publicIPv6 *httpserver.Server
	// files is how many connections each listener may have.
	files httpserver.OpenFiles
	api   *api.Public
	// nats is the embedded server, or nil. natsOwn is the broker's own login there, if the server needs one.
	nats    *server.Server
	natsOwn natsLogin
	lock    *badgerstore.DirLock
	store   store.Store
	// aloneVersion is the version of a store that has only this broker.
	aloneVersion int
	// cluster is the part that depends on other brokers, or nil if the store has only this one.
	cluster *cluster
	deny    *revocation.Denylist
	// providers are the upstream providers by name.
	providers map[string]Provider
	ledger    *ledger.Ledger
	keys      *keyring.Keyring
	// kek is the source of the KEK. changes are the changes of keys that are still to be published.
	kek     kekSource
	changes chan lifecycle.Change
	// lives are the lives of access tokens, in nanoseconds: the published one and the signed one.
	lives     struct{ published, signed atomic.Int64 }
	bus       *natsfeed.Bus
	publisher *ledger.Publisher
	receipts  *receipts.Collector
	// known are the services that may send receipts.
	known     atomic.Pointer[serviceSet]
	copies    *copies
	watching  *watch.Hub
	path      *commit.Path
	endUsers  *enduser.Service
	operators *operator.Service
	// oauthClients are the use cases of OAuth clients, and tokens checks access tokens of any audience.
	oauthClients *oauthclient.Service
	tokens       verifier
	metrics      *metrics.Metrics
	failed       chan error
	// undo has the functions that stop what was started. They are called in reverse order.
	undo []func(context.Context) error
}

// Start starts a node. When it returns without an error, all its listeners answer. If it returns an error, it has
// stopped what it had started. While a shared store does not answer, as during an election, Start begins again, for 20 s.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	for began := time.Now(); ; {
		n, err := start(ctx, cfg)
		if err == nil || cfg.Engine == nil || !passes(err) || ctx.Err() != nil || time.Since(began) > startPatience {
			return n, err
		}
		cfg.Logger.Warn("the shared store does not answer: starting again", "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(startPause):
		}
	}
}

// start is one attempt of [Start].
func start(ctx context.Context, cfg Config) (*Node, error) {
	n := &Node{cfg: cfg, began: time.Now(), metrics: metrics.New(), failed: make(chan error, 1)}
	for _, step := range []func(context.Context) error{
		n.takePorts, n.openStore, n.openKeys, n.startBroadcast, n.startBroker, n.seed, n.serve,
	} {
		if err := step(ctx); err != nil {
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
			defer cancel()
			return nil, errors.Join(err, n.stop(stopCtx))
		}
	}
	return n, nil
}

// Addr returns the address of the public listener.
func (n *Node) Addr() string { return n.addr }

// Issuer returns the broker's public URL.
func (n *Node) Issuer() string { return n.issuer }

// NATSURL returns the URL of the NATS server at which services subscribe.
func (n *Node) NATSURL() string {
	if n.nats == nil {
		return n.cfg.NATS.URL
	}
	return n.nats.ClientURL()
}

// AdminURL returns the URL of the operators' TCP listener, or "" if there is none.
func (n *Node) AdminURL() string {
	if n.admin == nil {
		return ""
	}
	scheme := "http://"
	if n.cfg.Admin.Certificate != nil {
		scheme = "https://"
	}
	return scheme + n.admin.Addr()
}

// AdminSocket returns the path of the operators' socket, or "" if the path was too long.
func (n *Node) AdminSocket() string {
	if n.socket == nil {
		return ""
	}
	return n.cfg.Admin.Socket
}

// SetOrigins replaces the origins of the SPAs. If it returns an error, the origins are unchanged.
func (n *Node) SetOrigins(origins []string) error { return n.api.SetOrigins(origins) }

// AllowsOrigin reports whether pages of an origin may call the broker.
func (n *Node) AllowsOrigin(origin string) bool { return n.api.Allows(origin) }

// EndUsers returns the use cases of people.
func (n *Node) EndUsers() *enduser.Service { return n.endUsers }

// Operators returns the use cases of operators.
func (n *Node) Operators() *operator.Service { return n.operators }

// OAuthClients returns the use cases of OAuth clients.
func (n *Node) OAuthClients() *oauthclient.Service { return n.oauthClients }

// mono returns the time since the node was started.
func (n *Node) mono() time.Duration { return time.Since(n.began) }

// publishedLife returns the life of access tokens that is published to services: all brokers publish that of the broker
// whose tokens live longest. accessLife returns the one that this broker signs.
func (n *Node) publishedLife() time.Duration {
	return max(time.Duration(n.lives.published.Load()), n.longestLife())
}
func (n *Node) accessLife() time.Duration { return time.Duration(n.lives.signed.Load()) }

// longestLife returns the longest life of access tokens that a live broker is configured to sign, in whole seconds.
func (n *Node) longestLife() time.Duration {
	if n.cluster != nil {
		return n.cluster.run.AccessLife()
	}
	return n.configuredLife()
}

// configuredLife returns the configured life of access tokens in whole seconds, rounded up.
func (n *Node) configuredLife() time.Duration {
	return (n.cfg.Policy.AccessLife + time.Second - 1).Truncate(time.Second)
}

// Failed returns a channel that receives the error of a listener that ended by itself.
func (n *Node) Failed() <-chan error { return n.failed }

// Close drains and stops the node: first the listeners, then the actors, then what they depend on. Within
// drainTimeout it answers accepted requests and sends committed batches.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return n.stop(ctx)
}

func (n *Node) stop(ctx context.Context) error {
	var errs []error
	for i := len(n.undo) - 1; i >= 0; i-- {
		errs = append(errs, n.undo[i](ctx))
	}
	n.undo = nil
	return errors.Join(errs...)
}

func (n *Node) onStop(f func(context.Context) error) { n.undo = append(n.undo, f) }
