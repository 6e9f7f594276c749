package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
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
		if r.Body == nil || r.Body == http.NoBody {
			c.arrived(conn)
		} else {
			r.Body = &arrivingBody{ReadCloser: r.Body, arrived: func() { c.arrived(conn) }}
		}
		c.closeWhenDraining(w)
		if r.ProtoMajor == 1 {
			w = closingWriter{w, c}
		}
		next.ServeHTTP(w, r)
	})
}

// arrivingBody calls arrived at its end.
type arrivingBody struct {
	io.ReadCloser
	arrived func()
}

func (b *arrivingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.arrived()
	}
	return n, err
}

// closingWriter ends a connection with the answer that a body is too large. Otherwise the
// server would read on, before that answer is sent and after it, to keep the connection:
// behind a wrapped writer [http.MaxBytesReader] cannot prevent it.
type closingWriter struct {
	http.ResponseWriter
	connections *connections
}

func (w closingWriter) WriteHeader(status int) {
	w.connections.closeWhenDraining(w)
	if status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now())
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves [http.ResponseController].
func (w closingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is what other writers ask for by type.
func (w closingWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
