package httpapi

import (
	"net/http"
	"time"
)

// StreamTimeout is the default time in which a reader of server-sent events must read one event.
const StreamTimeout = 10 * time.Second

// streamEnd is the time limit for the end of a stream.
const streamEnd = time.Second

// EventStream writes server-sent events. Each event has its own deadline in place of the
// server's for whole answers: a reader that does not read is cut off.
type EventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// NewEventStream starts an answer of server-sent events; timeout is that of each event.
func NewEventStream(w http.ResponseWriter, timeout time.Duration) EventStream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would collect events
	return EventStream{w: w, control: http.NewResponseController(w), timeout: timeout}
}

// Write writes the parts of one event and flushes them.
func (s EventStream) Write(parts ...[]byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	for _, part := range parts {
		if _, err := s.w.Write(part); err != nil {
			return err
		}
	}
	return flush(s.w)
}

// Close limits the time that the server takes to end the answer.
func (s EventStream) Close() { _ = s.control.SetWriteDeadline(time.Now().Add(streamEnd)) }

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
