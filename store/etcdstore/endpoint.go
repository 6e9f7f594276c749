package etcdstore

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"tokenbroker/store"
)

// Settings of the connections. A connection on which nothing arrives is pinged; grpc-go raises a shorter interval to
// 10 s, and a member closes connections that are pinged more often than each 5 s. The rotation does not wait for
// pings: they end connections that no one uses.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 3 * time.Second
	// maxReconnect is the longest pause between two attempts to connect: grpc-go's default is two minutes.
	maxReconnect = time.Second
	// oneMore lets the client library send a request again after it has renewed its authentication token.
	oneMore = 2
)

// endpoint is a member of the cluster. Its client is made at its first use, because the library authenticates while it
// makes one, and one endpoint that does not answer must not prevent a start.
type endpoint struct {
	url    string
	making chan struct{} // has an element while the client is made

	mu     sync.Mutex
	client *clientv3.Client // guarded by mu
	closed bool             // no client is made after it; guarded by mu
}

func newEndpoint(url string) *endpoint { return &endpoint{url: url, making: make(chan struct{}, 1)} }

func (e *endpoint) made() (*clientv3.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, store.ErrClosed
	}
	return e.client, nil
}

func (e *endpoint) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.client == nil {
		return nil
	}
	if err := e.client.Close(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// connect returns the endpoint's client.
func (s *Store) connect(ctx context.Context, e *endpoint) (*clientv3.Client, error) {
	if c, err := e.made(); c != nil || err != nil {
		return c, err
	}
	select {
	case e.making <- struct{}{}:
		defer func() { <-e.making }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c, err := e.made(); c != nil || err != nil {
		return c, err
	}
	life, cancel := context.WithCancel(s.run)
	made := context.AfterFunc(ctx, cancel) // the library has no context for the authentication
	c, err := clientv3.New(s.clientConfig(life, e.url))
	if !made() || err != nil {
		cancel()
		if err == nil {
			_ = c.Close()
			err = ctx.Err()
		}
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = c.Close()
		return nil, store.ErrClosed
	}
	e.client = c
	return c, nil
}

func (s *Store) clientConfig(life context.Context, url string) clientv3.Config {
	return clientv3.Config{
		Endpoints: []string{url}, TLS: s.config.TLS, Username: s.config.Username, Password: s.config.Password,
		DialTimeout: s.config.TryFor, DialKeepAliveTime: pingAfter, DialKeepAliveTimeout: pingTimeout,
		MaxUnaryRetries: oneMore, Logger: zap.NewNop(), Context: life,
		DialOptions: append([]grpc.DialOption{
			grpc.WithDisableServiceConfig(), // no balancer: there is one address
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
				MinConnectTimeout: maxReconnect,
			}),
			grpc.WithChainUnaryInterceptor(countSends),
		}, s.config.dialOptions...),
	}
}

// sends counts how often a commit was sent to a member. It belongs to one goroutine.
type sends struct {
	n    int
	once bool // it must not be sent again
}

type sendsKey struct{}

// errSentOnce refuses a second copy of a commit that must be sent once.
var errSentOnce = status.Error(codes.FailedPrecondition, "a commit without a fence is not sent again")

// countSends counts requests that may have reached a member: those that had a connection.
func countSends(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	s, counted := ctx.Value(sendsKey{}).(*sends)
	if !counted {
		return invoke(ctx, method, request, reply, cc, opts...)
	}
	if s.once && s.n > 0 {
		return errSentOnce
	}
	var p peer.Peer
	err := invoke(ctx, method, request, reply, cc, append(opts, grpc.Peer(&p))...)
	if err == nil || p.Addr != nil {
		s.n++
	}
	return err
}
