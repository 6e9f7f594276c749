package feed

import (
	"context"
	"errors"
	"net/http"
	"os"

	"tokenbroker/api/httpapi"
)

// Stream delivers the revocations as they are committed.
type Stream interface {
	// Listen starts after the reader's position, or at the head if it is empty. Errors are
	// those of [Catchup].
	Listen(ctx context.Context, r Reader) (Listener, error)
}

// Listener is one reader's position in the revocations. It is used by one goroutine.
type Listener interface {
	// Next waits for the next event. An error ends the stream.
	Next(ctx context.Context) (StreamEvent, error)
	Close()
}

// StreamEvent is one event of GET /revocations/stream. No part of it has a line break.
type StreamEvent struct {
	// Name is batch, heartbeat or reset.
	Name string
	// Position is the reader's position after the event.
	Position string
	// Data is shared by all listeners. It is nil for a reset.
	Data []byte
}

// streamRetry makes an EventSource reconnect after one second.
const streamRetry = "retry: 1000\n\n"

// stream is GET /revocations/stream?after=position&speaks=2 for services, as server-sent events. The
// header Last-Event-ID, which a reader sends when it reconnects, has priority over the query.
// Credentials are checked only at the start: withdrawn ones are refused at the next reconnect.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request) error {
	reader, err := h.reader(r)
	if err != nil {
		return err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		reader.After = id
	}
	listener, err := h.cfg.Stream.Listen(r.Context(), reader)
	if err != nil {
		return err
	}
	defer listener.Close()

	out := httpapi.NewEventStream(w, h.cfg.StreamTimeout)
	defer out.Close()
	for err = out.Write([]byte(streamRetry)); err == nil; {
		var e StreamEvent
		if e, err = listener.Next(r.Context()); err == nil {
			err = writeEvent(out, e)
		}
	}
	// The status was sent long ago. A client that left is not logged, a client that was cut off is;
	// in that case the server also ends the request's context.
	if r.Context().Err() == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		httpapi.EntryOf(r).Cause = err
	}
	return nil
}

func writeEvent(out httpapi.EventStream, e StreamEvent) error {
	data := e.Data
	if data == nil {
		data = []byte("{}") // an EventSource ignores an event without data
	}
	return out.Write([]byte("event: "+e.Name+"\nid: "+e.Position+"\ndata: "), data, []byte("\n\n"))
}
