// Package natsfeed carries revocation messages over core NATS: [Feed] for the services
// that listen, [Bus] for the broker that publishes.
//
// A service needs the right to subscribe to tokenbroker.revocation.> and
// tokenbroker.heartbeat.>, to publish its receipts on tokenbroker.receipt.<its id>, and
// nothing else. The broker publishes on the first two and subscribes to tokenbroker.receipt.*.
package natsfeed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"tokenbroker/revocation"
)

var (
	_ revocation.Feed = Feed{}
	_ revocation.Link = (*gate)(nil)
)

// Feed is a [revocation.Feed] over NATS. Its zero value with a URL is ready for use; it is
// a value and may be copied; each Open has its own connection.
type Feed struct {
	// URL is the URL of the server, or several URLs separated by commas.
	URL string
	// User and Password authenticate the service. If empty, the service connects without them.
	User, Password string
	// Credentials is the path of a .creds file (JWT and nkey). If empty, none is used.
	Credentials string
	// TLS is the TLS configuration. If nil, the default one is used for tls:// URLs and for servers that require TLS.
	TLS *tls.Config
	// Name is shown by the server's monitoring. If empty, it is "tokenbroker service".
	Name string

	pending int // pending messages of one subscription, for tests; 0 means the default
}

// What may wait in one subscription for the sink, which never blocks; beyond it NATS drops
// and the sink gets a Gap.
const (
	pendingMessages = 8192
	pendingBytes    = 64 << 20
)

// Open subscribes. An unreachable server is not an error: the connection is retried without
// limit, and the sink receives a Gap whenever it was made again.
func (f Feed) Open(ctx context.Context, sink revocation.Sink) (io.Closer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("opening the NATS feed: %w", err)
	}
	who := access{f.User, f.Password, f.Credentials, f.TLS}
	g := &gate{sink: sink, done: make(chan struct{}), outage: newOutage(f.URL, who)}
	name := f.Name
	if name == "" {
		name = "tokenbroker service"
	}
	opts := append(who.options(name),
		nats.ConnectHandler(func(nc *nats.Conn) { // the first connect, which may come late
			g.outage.back()
			if !g.atOnce.Load() {
				g.connected(nc)
			}
		}),
		nats.ReconnectHandler(g.connected),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { g.outage.failed(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { g.outage.failed(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if refusedPublish(err) { // of a receipt: nothing that came was lost
				g.refused(err)
				return
			}
			g.gap(fmt.Errorf("NATS: %w", err)) // a slow consumer above all
		}),
		nats.FlusherTimeout(2*time.Second), // a receipt must not wait for a dead link
		nats.ClosedHandler(func(*nats.Conn) { close(g.done) }),
	)
	nc, err := connect(f.URL, opts)
	if err != nil {
		return nil, fmt.Errorf("opening the NATS feed: %w", err)
	}
	g.nc = nc
	g.atOnce.Store(nc.IsConnected()) // then it was connected before it subscribed: no gap
	for _, subject := range []string{revocation.BatchSubject + ">", revocation.HeartbeatSubject + ">"} {
		if err := f.subscribe(nc, subject, g); err != nil {
			return nil, errors.Join(fmt.Errorf("subscribing to %s: %w", subject, err), g.Close())
		}
	}
	if nc.IsConnected() {
		// Wait until the server has the subscriptions. If the connection breaks in the meantime, its
		// return is a gap.
		flush, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err := nc.FlushWithContext(flush); err != nil && ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("opening the NATS feed: %w", ctx.Err()), g.Close())
		}
	}
	return g, nil
}

var errConnected = errors.New("connected to NATS again")

func (f Feed) subscribe(nc *nats.Conn, subject string, g *gate) error {
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) { g.message(m.Data) })
	if err != nil {
		return err
	}
	limit := f.pending
	if limit == 0 {
		limit = pendingMessages
	}
	return sub.SetPendingLimits(limit, pendingBytes)
}

// gate passes messages and gaps to the sink until it is closed.
type gate struct {
	nc     *nats.Conn
	outage *outage
	done   chan struct{} // closed with the connection
	sink   revocation.Sink

	atOnce atomic.Bool // the first connect succeeded within Open

	refusal atomic.Pointer[refusal] // the last one, nil if there was none

	mu     sync.RWMutex
	closed bool // mu guards it
}

func (g *gate) message(raw []byte) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.closed {
		g.sink.Message(raw)
	}
}

func (g *gate) gap(cause error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.closed {
		g.sink.Gap(cause)
	}
}

// connected reports the gap once the server has the subscriptions again, so that the
// catch-up and the feed leave nothing out between them.
func (g *gate) connected(nc *nats.Conn) {
	g.outage.back()
	_ = nc.FlushTimeout(2 * time.Second) // if the connection breaks in the meantime, its return is another gap
	g.gap(errConnected)
}

// Err implements [revocation.Link].
func (g *gate) Err() error { return g.outage.err() }

// Close ends the subscription. After it has returned, the sink is not called again.
func (g *gate) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.nc.Close()
	<-g.done
	return nil
}

var _ revocation.ReceiptSender = (*gate)(nil)

// refusalLasts is how long, after the server refused a receipt, SendReceipt reports that the next ones
// are also refused. It still sends them, because the permission may have been granted in the meantime.
const refusalLasts = 5 * time.Second

// refusal records that the server refused a receipt, which it reports asynchronously.
type refusal struct {
	err error
	at  time.Time
}

// refusedPublish reports whether the server refused a published message. nats.go also distinguishes it
// from a refused subscription only by the text of the error.
func refusedPublish(err error) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), "for Publish to ")
}

func (g *gate) refused(err error) { g.refusal.Store(&refusal{err: err, at: time.Now()}) }

// SendReceipt implements [revocation.ReceiptSender]: it publishes on the subject of the service's id,
// which is the part of its name before the "/". A refusal by the server is returned by later calls. The
// error wraps [ErrNotConnected] if the server is not connected.
func (g *gate) SendReceipt(ctx context.Context, r revocation.Receipt) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	raw, err := revocation.EncodeReceipt(r)
	if err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	id, _, _ := strings.Cut(r.Service, "/")
	if id == "" || strings.Contains(id, ".") {
		return fmt.Errorf("sending a receipt: %q cannot stand in a subject", id)
	}
	if !g.nc.IsConnected() {
		return fmt.Errorf("sending a receipt: %w", g.outage.cause())
	}
	if err := g.nc.Publish(revocation.ReceiptSubject+id, raw); err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	if last := g.refusal.Load(); last != nil && time.Since(last.at) < refusalLasts {
		return fmt.Errorf("the server refused a receipt: %w", last.err)
	}
	return nil
}
