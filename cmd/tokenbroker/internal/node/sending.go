package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// senders tells the connections whose clients have sent their request whole, and wait for
// its answer, from those that are still sending or have sent nothing. Safe for concurrent use.
type senders struct {
	mu    sync.Mutex // guards whole
	whole map[net.Conn]bool
}

type connKey struct{}

// attach has server's connections observed.
func (s *senders) attach(server *http.Server) {
	s.whole = map[net.Conn]bool{}
	server.ConnState, server.Handler = s.connState, s.observe(server.Handler)
	next := server.ConnContext
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if next != nil {
			ctx = next(ctx, conn)
		}
		return context.WithValue(ctx, connKey{}, conn)
	}
}

func (s *senders) connState(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew, http.StateActive:
		s.whole[conn] = false
	case http.StateClosed, http.StateHijacked:
		delete(s.whole, conn)
	case http.StateIdle: // a stop closes it by itself
	}
}

func (s *senders) arrived(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.whole[conn]; open {
		s.whole[conn] = true
	}
}

// cut closes the connections of those who are still sending.
func (s *senders) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, whole := range s.whole {
		if !whole {
			_ = conn.Close()
		}
	}
}

// waiting is how many connections wait for an answer. It counts idle ones, too: it is for a
// server that has closed those.
func (s *senders) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, whole := range s.whole {
		if whole {
			n++
		}
	}
	return n
}

func (s *senders) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(net.Conn)
		r = r.WithContext(r.Context()) // the server's own request keeps its body
		if r.Body == nil || r.Body == http.NoBody {
			s.arrived(conn)
		} else {
			r.Body = &arrivingBody{ReadCloser: r.Body, arrived: func() { s.arrived(conn) }}
		}
		if r.ProtoMajor == 1 {
			w = closingWriter{w}
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
type closingWriter struct{ http.ResponseWriter }

func (w closingWriter) WriteHeader(status int) {
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
