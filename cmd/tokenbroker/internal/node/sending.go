package node

import (
	"context"
	"io"
	"net"
	"net/http"
)

type connKey struct{}

// track has c told of the states of server's connections.
func (c *connections) track(server *http.Server) {
	server.ConnState, server.Handler = c.connState, c.observe(server.Handler)
	next := server.ConnContext
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if next != nil {
			ctx = next(ctx, conn)
		}
		return context.WithValue(ctx, connKey{}, conn)
	}
}

// observe notes which requests have arrived whole.
func (c *connections) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(net.Conn)
		r = r.WithContext(r.Context()) // the server's own request keeps its body
		body := &arrivingBody{ReadCloser: r.Body, arrived: func() { c.arrived(conn) }}
		if r.Body == nil || r.Body == http.NoBody {
			body.ended = true
			body.arrived()
		} else {
			r.Body = body
		}
		c.closeWhenDraining(w)
		if r.ProtoMajor != 1 { // an HTTP/2 server answers a stream and resets it
			next.ServeHTTP(w, r)
			return
		}
		answer := &answerWriter{ResponseWriter: w, connections: c, body: body, length: r.ContentLength}
		next.ServeHTTP(answer, r)
		answer.linger()
	})
}

// arrivingBody calls arrived at its end.
type arrivingBody struct {
	io.ReadCloser
	arrived func()
	read    int64
	ended   bool
	failed  bool
}

func (b *arrivingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	switch err {
	case nil:
	case io.EOF:
		b.ended = true
		b.arrived()
	default:
		b.failed = true
	}
	return n, err
}
