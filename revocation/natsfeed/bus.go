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

// BusConfig says how the broker reaches NATS.
type BusConfig struct {
	// URL of the server, or several separated by commas; unused with InProcess.
	URL string
	// InProcess connects to an embedded server without a socket.
	InProcess nats.InProcessConnProvider
	// User and Password, or Credentials (path of a .creds file), if the server requires them.
	User, Password string
	Credentials    string
	// TLS is used if it is not nil.
	TLS *tls.Config
	// Logger receives a line when the connection breaks or cannot be made, with the URL and the cause,
	// when it is back, and for what the server refuses or drops, once a connection. If nil,
	// [slog.Default] is used.
	Logger *slog.Logger
}

// Bus is the broker's connection. It reconnects without end and buffers nothing while it is
// disconnected: the server has received what Flush confirmed; everything else was not
// sent. It is safe for concurrent use.
type Bus struct {
	nc     *nats.Conn
	log    *slog.Logger
	outage *outage
	done   chan struct{}

	mu sync.Mutex
	// mu guards the rest.
	reconnect []func()
	logged    map[string]bool // complaints of this connection
}

// maxLogged bounds the different complaints of one connection that are logged.
const maxLogged = 32

// Dial connects. A server that cannot be reached is not an error: the connection is made
// in the background.
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

// lost logs why there is no connection.
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

// complain logs what the server says out of turn: rights that are missing, receipts that came
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

// OnReconnect calls f whenever a connection was made again, or for the first time. f must not block.
func (b *Bus) OnReconnect(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reconnect = append(b.reconnect, f)
}

// Publish passes data to the connection; only [Bus.Flush] confirms that the server has it. It
// fails with [ErrNotConnected] when there is no connection. The caller keeps data.
func (b *Bus) Publish(subject string, data []byte) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("publishing on %s: %w", subject, b.outage.cause())
	}
	if err := b.nc.Publish(subject, data); err != nil {
		return fmt.Errorf("publishing on %s: %w", subject, err)
	}
	return nil
}

// Flush waits until the server has everything published before. Without a deadline in ctx
// it waits 2 s.
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

// Connected reports whether there is a connection now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Close ends the connection; no callback runs afterwards.
func (b *Bus) Close() {
	b.nc.Close()
	<-b.done
}

// What may wait of receipts; beyond it they are dropped, and the next ones replace them.
const (
	pendingReceipts     = 8192
	pendingReceiptBytes = 8 << 20
)

// Receipts calls take for each receipt that a service publishes, with the id that its
// subject names and its unchecked payload, which take owns. take must not block;
// it is called by one goroutine at a time, until Close. The subscription outlives lost
// connections. Receipts is to be called once.
func (b *Bus) Receipts(take func(id string, raw []byte)) error {
	sub, err := b.nc.Subscribe(revocation.ReceiptSubject+"*", func(m *nats.Msg) {
		take(strings.TrimPrefix(m.Subject, revocation.ReceiptSubject), m.Data)
	})
	if err == nil {
		err = sub.SetPendingLimits(pendingReceipts, pendingReceiptBytes)
	}
	if err != nil {
		return fmt.Errorf("subscribing to receipts: %w", err)
	}
	return nil
}

// Heartbeats calls take for each heartbeat that another process publishes, unverified;
// take owns raw. take must not block; it is called by one goroutine at a time, until
// Close. The subscription outlives lost connections. Heartbeats is to be called once.
func (b *Bus) Heartbeats(take func(raw []byte)) error {
	_, err := b.nc.Subscribe(revocation.HeartbeatSubject+"*", func(m *nats.Msg) { take(m.Data) })
	if err != nil {
		return fmt.Errorf("subscribing to heartbeats: %w", err)
	}
	return nil
}
