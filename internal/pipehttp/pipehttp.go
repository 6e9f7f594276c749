// Package pipehttp serves HTTP in tests over connections in memory. In a synctest bubble, a goroutine that
// waits for such a connection is durably blocked, so that the bubble's clock advances and the timeouts of
// servers and clients run in its time.
package pipehttp

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Start starts srv, with TLS if it enables HTTP/2, on a listener in memory. srv.Client connects to it
// under any address. Start closes srv at the end of the test.
func Start(t *testing.T, srv *httptest.Server) {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv.Listener = p
	if srv.EnableHTTP2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	srv.Client().Transport.(*http.Transport).DialContext = p.dial
	t.Cleanup(srv.Close)
}

type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var _ net.Listener = (*pipes)(nil)

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (p *pipes) Addr() net.Addr { return p }

func (p *pipes) Network() string { return "pipe" }

// String returns an address that httptest's certificate covers and that servers accept as loopback. No
// connection is made to it.
func (p *pipes) String() string { return "127.0.0.1:80" }
