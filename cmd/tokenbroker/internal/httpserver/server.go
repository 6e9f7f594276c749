// Package httpserver runs the broker's HTTP listeners. A [Server] bounds its connections, cuts off
// slow and oversized requests, drops request bodies that a handler does not read, and drains without
// losing an accepted request. [DivideOpenFiles] returns how many connections each listener may have.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Limits of the listeners: slow and oversized requests are cut off.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 90 * time.Second
	MaxHeaderBytes    = 16 << 10
	// requestsPerConnection is how many requests an HTTP/2 connection may have in progress: each takes
	// memory as a connection does, and connections are what is counted.
	requestsPerConnection = 32
	// lingerTimeout is how long a stop waits for clients that are still sending. answerTimeout is how long it
	// waits for answers, which is longer than the longest queue of sign-ins takes.
	lingerTimeout = 2 * time.Second
	answerTimeout = 5 * time.Second
	// maxQueueDrain is how long a drain may take connections from the kernel's queue.
	maxQueueDrain = 2 * time.Second
	// minDrain is the minimum duration of a drain, so that clients with kept connections that sent a
	// request when the drain started get their answer.
	minDrain    = 100 * time.Millisecond
	settleEvery = 5 * time.Millisecond
)

// Listen opens a TCP listener at addr. Its error names what listens, the address and the setting that
// changes it.
func Listen(what, addr, setting string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is in use by another program; stop it or choose another address with %s", what, addr, setting)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w (change it with %s)", what, err, setting)
	}
	return l, nil
}

// Server is an HTTP server whose listener is opened first and served later. [Server.Serve] starts
// its one goroutine, and [Server.Shutdown] ends it.
type Server struct {
	listener *connections
	server   *http.Server
	done     chan struct{}
	failed   func(error)
	logger   *slog.Logger
}

// New returns a server for the listener l, which it owns. failed receives the error of a server that
// ends by itself; it must not block.
func New(l net.Listener, limits Limits, logger *slog.Logger, failed func(error)) *Server {
	return &Server{listener: newConnections(l, limits, logger), logger: logger, failed: failed}
}

// Addr returns the listener's address.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Counts returns the counts of the connections. It is safe for concurrent use.
func (s *Server) Counts() Counts { return s.listener.stats() }

// Serve answers requests in its own goroutine. If certificate is not nil, the server speaks TLS
// and HTTP/2, and certificate is called for each connection. connContext is that of
// [http.Server.ConnContext] and may be nil.
func (s *Server) Serve(
	handler http.Handler, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error),
	connContext func(context.Context, net.Conn) context.Context,
) {
	s.server = &http.Server{
		Handler: handler, ConnContext: connContext, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: MaxHeaderBytes,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: requestsPerConnection},
		// ErrorLog receives errors of clients before there is a request, mostly in handshakes.
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	s.listener.track(s.server)
	serve := s.server.Serve
	if certificate != nil {
		s.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate}
		serve = func(l net.Listener) error { return s.server.ServeTLS(l, "", "") }
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		err := serve(s.listener)
		if drained := errors.Is(err, net.ErrClosed) && s.listener.draining(); !drained && !errors.Is(err, http.ErrServerClosed) {
			s.failed(err)
		}
	}()
}

// Shutdown takes the connections of the kernel's queue and no others, answers the requests that were
// accepted and waits for the goroutine. A client that is still sending its request after 2 s is cut
// off: the request was not accepted. After 5 s the connections that are left are closed.
func (s *Server) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	s.listener.drain()
	<-s.done
	s.listener.settle(ctx)
	err := s.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.logger.Warn("a stop cuts off requests that were accepted", "listener", s.Addr(), "connections", s.listener.answering())
		err = s.server.Close()
	}
	return err
}

// Release closes the listener of a server that was never served.
func (s *Server) Release(context.Context) error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// drain makes Accept take the connections that are in the kernel's queue and then close the listener.
func (c *connections) drain() {
	c.mu.Lock()
	c.drained = time.Now().Add(maxQueueDrain)
	c.room.Broadcast()
	bounded := c.acceptUntil(time.Now()) // wakes an Accept that waits
	c.mu.Unlock()
	if !bounded {
		_ = c.Close()
	}
}

// settle waits, after drain, until every accepted connection has had its answer or was cut
// off, or ctx ends. [http.Server.Shutdown] must not be called before: it closes a
// connection whose request it has just read without an answer.
func (c *connections) settle(ctx context.Context) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	least, linger := time.After(minDrain), time.After(lingerTimeout)
	for lasted, lingered := false, false; !lasted || c.busy(); {
		select {
		case <-ctx.Done():
			return
		case <-least:
			lasted = true
		case <-linger:
			lingered = true
		case <-tick.C:
			if lingered {
				c.cut()
			}
		}
	}
}

// busy reports whether a connection is new or has a request in progress.
func (c *connections) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > c.idle.Len()
}
