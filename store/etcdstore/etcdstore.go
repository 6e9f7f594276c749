// Package etcdstore keeps records in an etcd cluster, which several brokers share. Every commit is one
// transaction of etcd, which a majority of the members has written to disk when it is acknowledged; every
// read is linearizable.
//
// The store has one client for each endpoint. A request that an endpoint does not answer in time goes to the next
// one: the client library's own balancer stays with a frozen endpoint for seconds. A commit under a fence may be
// sent several times, because it is applied once at most; one without a fence is sent once.
//
// A record that has expired is treated as absent. It stays in the cluster until it is replaced or deleted, which is what
// [Store.Expired] is for. A change that creates a record over an expired one gets [store.ErrConflict] if this store has not read the expired one by its
// key, and succeeds after it was read.
//
// The members need etcd 3.6, and their defaults for --max-request-bytes and --max-txn-ops or higher values.
package etcdstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"tokenbroker/store"
)

var (
	_ store.Engine      = (*Store)(nil)
	_ store.Snapshotter = (*Store)(nil)
	_ store.Sweeper     = (*Store)(nil)
)

// Defaults of [Config].
const (
	DefaultPrefix    = "tokenbroker/"
	DefaultTryFor    = 400 * time.Millisecond
	DefaultMaxTxnOps = 128 // etcd's default for --max-txn-ops
)

// minTxnOps leaves room for a fence, a group and one change with some writes.
const minTxnOps = 16

// prefixes are such that no prefix is the beginning of another one.
var prefixes = regexp.MustCompile(`^[A-Za-z0-9._-]{1,127}/$`)

// Config configures a [Store]. Endpoints is required.
type Config struct {
	// Endpoints are the client URLs of the members, such as https://etcd-1:2379.
	Endpoints []string
	// Prefix precedes every key: up to 127 letters, digits and characters of "._-", then a slash. Stores with
	// different prefixes share nothing. If empty, it is [DefaultPrefix].
	Prefix string
	// TLS is the configuration of the connections, with the client's certificate. If nil, https endpoints are
	// verified with the system's certificates. If set, every endpoint must be https.
	TLS *tls.Config
	// Username and Password authenticate the broker at the cluster. If both are empty, it does not authenticate.
	Username, Password string
	// TryFor is how long an endpoint is waited for before the next one is asked. If zero, it is [DefaultTryFor].
	TryFor time.Duration
	// MaxTxnOps is the members' --max-txn-ops. If zero, it is [DefaultMaxTxnOps].
	MaxTxnOps int
	// Now is the clock by which records expire. If nil, [time.Now] is used.
	Now func() time.Time
	// Logger receives changes of state and failures. If nil, [slog.Default] is used.
	Logger *slog.Logger
	// dialOptions are further options of the connections, for tests.
	dialOptions []grpc.DialOption
	// patience is how long an operation asks the endpoints before it fails. Zero is rounds tries of each.
	patience time.Duration
}

func (c *Config) validate() error {
	if len(c.Endpoints) == 0 {
		return errors.New("etcdstore: no endpoints")
	}
	for _, endpoint := range c.Endpoints {
		u, err := url.Parse(endpoint)
		switch {
		case err != nil:
			return fmt.Errorf("etcdstore: endpoint: %w", err)
		case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil, u.Path != "" && u.Path != "/":
			return fmt.Errorf("etcdstore: endpoint %q is not a URL such as https://etcd-1:2379", u.Redacted())
		case c.TLS != nil && u.Scheme != "https":
			return fmt.Errorf("etcdstore: endpoint %q is not https, but TLS is configured", endpoint)
		}
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if !prefixes.MatchString(c.Prefix) {
		return fmt.Errorf("etcdstore: the prefix %q is not 1 to 127 letters, digits, dots, dashes and underscores, followed by a slash", c.Prefix)
	}
	if (c.Username == "") != (c.Password == "") {
		return errors.New("etcdstore: user name and password must be set together")
	}
	if c.TryFor <= 0 {
		c.TryFor = DefaultTryFor
	}
	if c.patience <= 0 {
		c.patience = time.Duration(rounds*len(c.Endpoints)) * c.TryFor
	}
	if c.MaxTxnOps <= 0 {
		c.MaxTxnOps = DefaultMaxTxnOps
	}
	if c.MaxTxnOps < minTxnOps {
		return fmt.Errorf("etcdstore: max-txn-ops is %d, at least %d are needed", c.MaxTxnOps, minTxnOps)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Store is a connection to an etcd cluster. It implements [store.Engine] and is safe for concurrent use.
type Store struct {
	config    Config
	endpoints []*endpoint
	turn      atomic.Pointer[turn] // the endpoint that is asked first

	run     context.Context // ends with Close
	stop    context.CancelFunc
	follows sync.WaitGroup

	committing chan struct{} // has an element while a commit runs
	maxBytes   int           // of a transaction; the commit that runs owns it

	full atomic.Bool // the last commit was refused because the cluster has no space

	mu      sync.Mutex
	closed  bool             // no follow starts after it; guarded by mu
	expired map[string]int64 // revisions of expired records that were read; guarded by mu
}

// Open connects to the cluster and checks the members that answer: their version, their limits, the user's rights, and whether an
// alarm is raised, which is only logged. At least one member has to answer, and the cluster needs a leader, before ctx
// ends. The caller has to call [Store.Close].
func Open(ctx context.Context, config Config) (*Store, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	s := &Store{config: config, committing: make(chan struct{}, 1), maxBytes: maxTxnBytes, expired: make(map[string]int64)}
	s.run, s.stop = context.WithCancel(context.Background())
	for _, url := range config.Endpoints {
		s.endpoints = append(s.endpoints, newEndpoint(url))
	}
	s.turn.Store(newTurn(s.run, 0))
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to etcd: %w", err), s.Close())
	}
	return s, nil
}

// Close ends the connections. Operations in progress fail.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.follows.Wait()
	var errs []error
	for _, e := range s.endpoints {
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}

// name returns etcd's key for a key of the store.
func (s *Store) name(key string) string { return s.config.Prefix + key }

// key returns the key of the store for one of etcd's.
func (s *Store) key(name []byte) string { return string(name[len(s.config.Prefix):]) }
