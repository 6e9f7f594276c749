package node

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of the listeners: slow and oversized requests are cut off.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 90 * time.Second
	maxHeaderBytes    = 16 << 10
	// requestsPerConnection is how many requests an HTTP/2 connection may have in progress: each takes
	// memory as a connection does, and connections are what is counted.
	requestsPerConnection = 32
	// lingerTimeout is for clients who are still sending at a stop, and answerTimeout for the
	// answers: longer than the longest queue of sign-ins takes.
	lingerTimeout = 2 * time.Second
	answerTimeout = 5 * time.Second
)

type (
	certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	connContext = func(context.Context, net.Conn) context.Context
)

// httpServer is a listener that was taken early and is served later. Its one goroutine
// is started by serve and ended by shutdown.
type httpServer struct {
	listener *connections
	server   *http.Server
	done     chan struct{}
	// failed takes the error of a server that ended by itself; it never blocks.
	failed func(error)
	logger *slog.Logger
}

func (s *httpServer) addr() string { return s.listener.Addr().String() }

// serve answers on the listener. With certificate it speaks TLS (and HTTP/2); connContext
// may be nil.
func (s *httpServer) serve(handler http.Handler, certificate certificate, connContext connContext) {
	s.server = &http.Server{
		Handler: handler, ConnContext: connContext, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: requestsPerConnection},
		// What clients do wrong before there is a request: handshakes, mostly.
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

// shutdown takes no new connection but those in the kernel's queue, answers what was accepted
// and waits for the goroutine.
// A client that is still sending after lingerTimeout is cut off: it was not accepted. Nor is
// any waited for beyond answerTimeout.
func (s *httpServer) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	s.listener.drain()
	<-s.done
	s.listener.settle(ctx)
	err := s.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.logger.Warn("a stop cuts off requests that were accepted", "listener", s.addr(), "connections", s.listener.answering())
		err = s.server.Close()
	}
	return err
}

// release gives the port up if it was never served.
func (s *httpServer) release(context.Context) error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
