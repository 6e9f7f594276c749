package httpfeed

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// pipes is a network in memory, for servers in a synctest bubble: waiting for it is waiting for an event.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var _ net.Listener = (*pipes)(nil)

// serve starts a server, which the end of the test closes, and returns it with a client of its own.
func serve(t *testing.T, handler http.Handler) (*httptest.Server, *http.Client) {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := &httptest.Server{Listener: p, Config: &http.Server{Handler: handler}}
	srv.Start()
	transport := &http.Transport{DialContext: p.dial}
	t.Cleanup(func() { srv.Close(); transport.CloseIdleConnections() })
	return srv, &http.Client{Transport: transport}
}

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

func (p *pipes) String() string { return "broker.test" }
