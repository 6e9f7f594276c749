package api

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"
)

// Stream gives the revocations as they are committed.
type Stream interface {
	// Listen begins behind a position, or at the head for an empty one, for a client. An error with a
	// method BadPosition() bool that is true says that the position cannot be read; others
	// are [*broker.Error] where the caller may know the reason.
	Listen(client, after string) (Listener, error)
}

// Listener is one reader's place in the revocations. It is used by one goroutine.
type Listener interface {
	// Next waits for the next event. An error ends the stream.
	Next(ctx context.Context) (StreamEvent, error)
	Close()
}

// StreamEvent is one event of GET /revocations/stream. No part of it has a line break.
type StreamEvent struct {
	// Name is batch, heartbeat or reset.
	Name string
	// Position is where the reader stands behind the event.
	Position string
	// Data is shared by all listeners; nil for a reset.
	Data []byte
}

const (
	// defaultStreamTimeout is how long a listener may take to take one event in.
	defaultStreamTimeout = 10 * time.Second
	// streamFarewell is how long the end of a stream may take.
	streamFarewell = time.Second
	// streamHello tells an EventSource to connect anew after a second.
	streamHello = "retry: 1000\n\n"
)

// stream is GET /revocations/stream?after=position for services, as server-sent events. The
// header Last-Event-ID, which a reader sends when it reconnects, goes before the query.
// Credentials are checked at the beginning: withdrawn ones end with the next reconnect.
func (s *server) stream(w http.ResponseWriter, r *http.Request) error {
	client, err := s.authenticateService(r)
	if err != nil {
		return err
	}
	after, err := position(r)
	if err != nil {
		return err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		after = id
	}
	listener, err := s.cfg.Stream.Listen(client, after)
	if err != nil {
		return positionError(err)
	}
	defer listener.Close()

	out := newEventWriter(w, s.cfg.StreamTimeout)
	defer out.farewell()
	for err = out.write([]byte(streamHello)); err == nil; {
		var e StreamEvent
		if e, err = listener.Next(r.Context()); err == nil {
			err = out.event(e)
		}
	}
	// The status is long since sent. A client that went away is no news, one that was cut
	// off is; the server then ends the request's context, too.
	if r.Context().Err() == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		exchangeOf(r).cause = err
	}
	return nil
}

// eventWriter gives each event a deadline of its own, in the place of the server's for
// whole answers: who does not read is cut off.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// newEventWriter begins an answer of server-sent events.
func newEventWriter(w http.ResponseWriter, timeout time.Duration) eventWriter {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would collect events
	return eventWriter{w: w, control: http.NewResponseController(w), timeout: timeout}
}

func (o eventWriter) event(e StreamEvent) error {
	data := e.Data
	if data == nil {
		data = []byte("{}") // an event without data is none to an EventSource
	}
	return o.write([]byte("event: "+e.Name+"\nid: "+e.Position+"\ndata: "), data, []byte("\n\n"))
}

func (o eventWriter) write(parts ...[]byte) error {
	if err := o.control.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return err
	}
	for _, part := range parts {
		if _, err := o.w.Write(part); err != nil {
			return err
		}
	}
	return flush(o.w)
}

// farewell bounds what the server does to end the answer.
func (o eventWriter) farewell() { _ = o.control.SetWriteDeadline(time.Now().Add(streamFarewell)) }

// flush is [http.ResponseController.Flush], but the error is not lost in a wrapper that can
// flush without one, such as gin's.
func flush(w http.ResponseWriter) error {
	for {
		switch v := w.(type) {
		case interface{ FlushError() error }:
			return v.FlushError()
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return http.NewResponseController(w).Flush()
		}
	}
}
