package httpserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

type connKey struct{}

// track sets the hooks of server by which c learns the states of its connections.
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

// Bounds of a request body that the handler does not read.
const (
	// discardBytes and discardTime are how much of it is read and dropped before the answer. nginx
	// passes bodies of up to 1 MiB by default.
	discardBytes = 1 << 20
	discardTime  = time.Second
	// lingerBytes and lingerTime are how much more of it is read and dropped after the answer, and
	// resetDelay is how long a client that sends even more has to read the answer.
	lingerBytes = 8 << 20
	lingerTime  = 2 * time.Second
	resetDelay  = 500 * time.Millisecond
)

// answerWriter answers an HTTP/1 request, also before its body was read, as most refusals are. A
// connection that is closed with unread data is reset, and a reset can destroy the answer on its
// way: proxies then answer 502 in its place. So the rest of the body is read and dropped before
// the answer. If it is too large or too slow for that, the answer goes out, more of the body is
// dropped, and the connection is closed.
//
// The server itself would do less of that, for as long as its read timeout, and nothing after the
// answer to a client that wants the connection closed, such as nginx with HTTP/1.0.
type answerWriter struct {
	http.ResponseWriter
	connections *connections
	body        *arrivingBody
	length      int64 // its Content-Length; -1 if unknown
	answered    bool
	lingers     bool
}

// WriteHeader implements [http.ResponseWriter].
func (w *answerWriter) WriteHeader(status int) {
	w.connections.closeWhenDraining(w)
	if status >= http.StatusOK && !w.answered {
		w.answered = true
		w.discard()
		if status == http.StatusRequestEntityTooLarge || w.lingers {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *answerWriter) Write(p []byte) (int, error) {
	if !w.answered {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// discard drops the rest of the body within discardBytes and discardTime. If that was not all, the
// connection is to linger.
func (w *answerWriter) discard() {
	if w.body.ended || w.body.failed { // the server closes a connection whose body failed, as at its read timeout
		return
	}
	control := http.NewResponseController(w.ResponseWriter)
	// A client that waits for "100 Continue" receives it here. Caddy sends the body without waiting, as
	// RFC 9110 section 10.1.1 permits, and resets its own client if the answer comes before the body's end.
	if w.length-w.body.read <= discardBytes && control.SetReadDeadline(time.Now().Add(discardTime)) == nil {
		_, _ = io.CopyN(io.Discard, w.body, discardBytes+1) // with the end, which follows the last byte
	}
	if w.body.ended {
		_ = control.SetReadDeadline(time.Time{}) // the server sets its own for the next request
		return
	}
	w.lingers = control.EnableFullDuplex() == nil // the server leaves the rest of the body to linger
}

// linger sends the answer of a connection that is to linger, and drops what the client still
// sends within lingerBytes and lingerTime.
func (w *answerWriter) linger() {
	control := http.NewResponseController(w.ResponseWriter)
	if !w.lingers || control.Flush() != nil || control.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, w.body, lingerBytes); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return // that was all of it, or the client has gone
	}
	time.Sleep(resetDelay) // a chunked body cannot be read any further after discardTime
}

// Unwrap returns the underlying writer for [http.ResponseController].
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements [http.Flusher], which other writers look for with a type assertion.
func (w *answerWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
