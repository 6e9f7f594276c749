package natsfeed

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tokenbroker/revocation"
)

// BusConfig configures the broker's connection to NATS.
type BusConfig struct {
	// URL of the server, or several separated by commas. It is not used with InProcess.
	URL string
	// InProcess is an embedded server, to which the Bus connects without a socket. If nil, it connects to URL.
	InProcess nats.InProcessConnProvider
	// User and Password, or Credentials (path of a .creds file), if the server requires them.
	User, Password string
	Credentials    string
	// TLS is the TLS configuration. If nil, the default one is used for tls:// URLs and for servers that require TLS.
	TLS *tls.Config
	// Logger receives diagnostics: when the connection is lost or cannot be made, with the URL and the
	// cause; when it is restored; and each different error that the server reports, once per connection.
	// If nil, [slog.Default] is used.
	Logger *slog.Logger
}

// Bus is the broker's connection to NATS. It reconnects until it is closed and buffers nothing while it is
// disconnected: the server has received everything that Flush confirmed, and anything else may not have
// been sent. It is safe for concurrent use.
type Bus struct {
	nc     *nats.Conn
	log    *slog.Logger
	outage *outage
	done   chan struct{}

	mu sync.Mutex
	// mu guards the fields below.
	reconnect []func()
	logged    map[string]bool // errors of this connection that were logged
}

// maxLogged is the maximum number of different errors that are logged for one connection.
const maxLogged = 32

// Dial connects to NATS. A server that cannot be reached is not an error: the connection is then made in
// the background.
func Dial(ctx context.Context, cfg BusConfig) (*Bus, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	b := &Bus{log: cfg.Logger, done: make(chan struct{}), logged: make(map[string]bool)}
	if b.log == nil {
		b.log = slog.Default()
	}
	who := access{cfg.User, cfg.Password, cfg.Credentials, cfg.TLS}
	at := cfg.URL
	if cfg.InProcess != nil {
		at = "embedded"
	}
	b.outage = newOutage(at, who)
	opts := append(who.options("tokenbroker"),
		nats.NoEcho(),
		nats.ConnectHandler(func(*nats.Conn) { b.connected() }),
		nats.ReconnectHandler(func(*nats.Conn) { b.connected() }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { b.lost(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.lost(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.complain(err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(b.done) }),
	)
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	}
	nc, err := connect(cfg.URL, opts)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	b.nc = nc
	return b, nil
}

// lost logs why the connection was lost.
func (b *Bus) lost(err error) {
	if b.outage.failed(err) {
		b.log.Warn("revocations are recorded but not published: services learn of them over HTTP within seconds", "error", b.outage.err())
	}
}

func (b *Bus) connected() {
	if b.outage.back() {
		b.log.Info("connected to NATS again", "url", b.outage.url)
	}
	b.mu.Lock()
	calls := append([]func(){}, b.reconnect...)
	clear(b.logged)
	b.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

// complain logs an asynchronous error of the server, such as missing permissions or receipts that arrive
// too fast.
func (b *Bus) complain(err error) {
	b.mu.Lock()
	known := refusedLogin(err) /* lost has it */ || b.logged[err.Error()] || len(b.logged) >= maxLogged
	if !known {
		b.logged[err.Error()] = true
	}
	b.mu.Unlock()
	if !known {
		b.log.Warn("NATS", "error", err)
	}
}

// OnReconnect adds a function that is called whenever a connection is made, the first one included. f must
// not block.
func (b *Bus) OnReconnect(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reconnect = append(b.reconnect, f)
}

// Publish writes data to the connection. Only [Bus.Flush] confirms that the server has received it. The
// error wraps [ErrNotConnected] if the bus is not connected. The caller keeps ownership of data.
func (b *Bus) Publish(subject string, data []byte) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("publishing on %s: %w", subject, b.outage.cause())
	}
	if err := b.nc.Publish(subject, data); err != nil {
		return fmt.Errorf("publishing on %s: %w", subject, err)
	}
	return nil
}

// Flush waits until the server has received everything published before. Without a deadline in ctx it
// waits at most 2 s.
func (b *Bus) Flush(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("flushing to NATS: %w", b.outage.cause())
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
	}
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flushing to NATS: %w", err)
	}
	return nil
}

// Connected reports whether the bus is connected now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Close closes the connection. No callback runs afterwards.
func (b *Bus) Close() {
	b.nc.Close()
	<-b.done
}

// The limits of receipts that wait for take. Receipts beyond them are dropped; later receipts replace
// them.
const (
	pendingReceipts     = 8192
	pendingReceiptBytes = 8 << 20
)

// Receipts calls take for each receipt that a service publishes, with the service's id from the subject
// and the unverified payload. take owns raw and must not block; it is called by one goroutine at a time,
// until Close. The subscription is restored when the connection is. Receipts must be called only once.
func (b *Bus) Receipts(take func(id string, raw []byte)) error {
	return b.receipts(revocation.ReceiptSubject, take)
}

// Posted is like [Bus.Receipts] for the messages on [revocation.PostedSubject] of other brokers. The first argument of
// take is the origin in the subject.
func (b *Bus) Posted(take func(origin string, raw []byte)) error {
	return b.receipts(revocation.PostedSubject, take)
}

// receipts subscribes to messages whose subject is the prefix and a name.
func (b *Bus) receipts(prefix string, take func(name string, raw []byte)) error {
	sub, err := b.nc.Subscribe(prefix+"*", func(m *nats.Msg) {
		take(strings.TrimPrefix(m.Subject, prefix), m.Data)
	})
	if err == nil {
		err = sub.SetPendingLimits(pendingReceipts, pendingReceiptBytes)
	}
	if err != nil {
		return fmt.Errorf("subscribing to receipts: %w", err)
	}
	return nil
}

// Heartbeats calls take for each heartbeat that another process publishes, unverified: another broker of the same store, or
// one on a copy of it. take owns raw and
// must not block; it is called by one goroutine at a time, until Close. The subscription is restored when
// the connection is. Heartbeats must be called only once.
func (b *Bus) Heartbeats(take func(raw []byte)) error {
	_, err := b.nc.Subscribe(revocation.HeartbeatSubject+"*", func(m *nats.Msg) { take(m.Data) })
	if err != nil {
		return fmt.Errorf("subscribing to heartbeats: %w", err)
	}
	return nil
}
