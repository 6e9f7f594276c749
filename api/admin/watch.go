package admin

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/revocation"
)

// Watching shows operators the events of the broker as they happen.
type Watching interface {
	// Watch starts with the next event. Errors are [*broker.Error] where the caller
	// may know the reason.
	Watch() (Watcher, error)
}

// Watcher is one operator's view. It is used by one goroutine.
type Watcher interface {
	// Next waits for the next event. An error other than ctx's ends the view.
	Next(ctx context.Context) (WatchEvent, error)
	Close()
}

// WatchEvent is one event of GET /admin/v1/watch.
type WatchEvent struct {
	// Name is the type, which is also in the data.
	Name string
	// Data is one line of JSON: a [WatchRevocation], [WatchApplied], [WatchService] or
	// [WatchKey]. It is shared by all watchers.
	Data []byte
}

// Types of events.
const (
	WatchTypeRevocation = "revocation"
	WatchTypeApplied    = "applied"
	WatchTypeService    = "service"
	WatchTypeKey        = "key"
)

// WatchRevocation is a batch of revocations that was committed: what one transaction recorded.
type WatchRevocation struct {
	Type   string `json:"type"`
	Origin string `json:"origin"`
	Seq    uint64 `json:"seq"`
	// At is the time when the batch was on disk, by the broker's clock.
	At     time.Time          `json:"at"`
	Events []revocation.Event `json:"events"`
	// Users are the names of the users of the first 20 events, by the event's value (a uid or a
	// sid). Users that no longer exist are left out.
	Users map[string]string `json:"users,omitempty"`
	// FlushedMS is the time from At until NATS had the batch, in milliseconds. It is nil if NATS
	// does not have it yet.
	FlushedMS *int64 `json:"flushed_ms,omitempty"`
}

// WatchApplied reports how many services have applied a batch, of those that reported within
// the last 3 s. It follows the batch's WatchRevocation.
type WatchApplied struct {
	Type    string `json:"type"`
	Origin  string `json:"origin"`
	Seq     uint64 `json:"seq"`
	Applied int    `json:"applied"`
	Of      int    `json:"of"`
	// SlowestMS is the time from the commit until the last of those that have applied it reported it.
	SlowestMS int64 `json:"slowest_ms"`
	// Laggards are the services that had not applied it after 2 s.
	Laggards []string `json:"laggards,omitempty"`
}

// States of a [WatchService].
const (
	ServiceFresh  = "fresh"
	ServiceStale  = "stale"
	ServiceSilent = "silent" // no report for 3 s
	ServiceGone   = "gone"   // no report for a minute; the service is forgotten
)

// WatchService is a service that is new or whose state changed, or that hears another one of several brokers.
// A new watcher gets one for each known service.
type WatchService struct {
	Type    string `json:"type"`
	Service string `json:"service"`
	// Source is the channel and the sender of its receipts.
	Source string `json:"source"`
	State  string `json:"state"`
	// Before is the previous state. It is empty if the service is new to the broker or to the watcher.
	Before string `json:"before,omitempty"`
	// Lag is the number of the broker's batches that it has not applied.
	Lag uint64 `json:"lag"`
	// Speaker is the origin of the broker that it hears, and SpeakerName the name of that broker. They are missing if
	// they are not known, or if the store has only one broker.
	Speaker     string `json:"speaker,omitempty"`
	SpeakerName string `json:"speaker_name,omitempty"`
	// AgeMS is the age of its knowledge at its last report.
	AgeMS int64     `json:"age_ms"`
	At    time.Time `json:"at"`
}

// WatchKey is a change of the keyring.
type WatchKey struct {
	Type      string    `json:"type"`
	What      string    `json:"what"`
	KID       string    `json:"kid,omitempty"`
	Purpose   string    `json:"purpose,omitempty"`
	Algorithm string    `json:"algorithm,omitempty"`
	State     string    `json:"state,omitempty"`
	At        time.Time `json:"at"`
}

const (
	// watchKeepAlive is the pause after which a comment shows that the stream is alive.
	watchKeepAlive = 10 * time.Second
	// watchComment is that comment. The first one shows the reader that the stream has started.
	watchComment = ": watching\n\n"
)

// watch is GET /admin/v1/watch: server-sent events until the client disconnects or the server
// drains. A stream cannot be resumed: a client that reconnects starts with the next event. A
// client that does not read is cut off.
func (a *handler) watch(w http.ResponseWriter, r *http.Request) error {
	watcher, err := a.cfg.Watching.Watch()
	if err != nil {
		return err
	}
	defer watcher.Close()
	out := httpapi.NewEventStream(w, httpapi.StreamTimeout)
	if r.Method == http.MethodHead {
		return nil
	}
	defer out.Close()
	for err = out.Write([]byte(watchComment)); err == nil; {
		var e WatchEvent
		ctx, cancel := context.WithTimeout(r.Context(), watchKeepAlive)
		e, err = watcher.Next(ctx)
		cancel()
		switch {
		case err == nil:
			err = out.Write([]byte("event: "+e.Name+"\ndata: "), e.Data, []byte("\n\n"))
		case errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil:
			err = out.Write([]byte(watchComment))
		}
	}
	if r.Context().Err() == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		httpapi.EntryOf(r).Cause = err
	}
	return nil
}
