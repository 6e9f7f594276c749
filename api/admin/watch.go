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

// Watching shows what happens to operators who look on.
type Watching interface {
	// Watch begins with what happens from now on. Errors are [*broker.Error] where the caller
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
	// Name is the type that the data name, too.
	Name string
	// Data is one line of JSON: a [WatchRevocation], [WatchApplied], [WatchService] or
	// [WatchKey]. It is shared by all watchers.
	Data []byte
}

// Types of what is watched.
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
	// At is when it was on disk, by the broker's clock.
	At     time.Time          `json:"at"`
	Events []revocation.Event `json:"events"`
	// Users are the names of the users of the first 20 events, by the event's value (a uid or a
	// sid); without those that are not known any more.
	Users map[string]string `json:"users,omitempty"`
	// FlushedMS is from then until NATS had it, in milliseconds; nil: NATS has not got it yet.
	FlushedMS *int64 `json:"flushed_ms,omitempty"`
}

// WatchApplied says how many services have applied a batch, of those that were heard of within
// the last 3 s; it follows the batch's WatchRevocation.
type WatchApplied struct {
	Type    string `json:"type"`
	Origin  string `json:"origin"`
	Seq     uint64 `json:"seq"`
	Applied int    `json:"applied"`
	Of      int    `json:"of"`
	// SlowestMS is from the commit until the last of those that have applied it said so.
	SlowestMS int64 `json:"slowest_ms"`
	// Laggards are those that had not applied it after 2 s.
	Laggards []string `json:"laggards,omitempty"`
}

// States of a [WatchService].
const (
	ServiceFresh  = "fresh"
	ServiceStale  = "stale"
	ServiceSilent = "silent" // not heard of for 3 s
	ServiceGone   = "gone"   // not for a minute, and forgotten
)

// WatchService is a service that came or whose state changed. Who begins to watch is told of
// each service that is known.
type WatchService struct {
	Type    string `json:"type"`
	Service string `json:"service"`
	// Source is how its receipts come, and from whom.
	Source string `json:"source"`
	State  string `json:"state"`
	// Before is the state before; "" for one that is new, to the broker or to the watcher.
	Before string `json:"before,omitempty"`
	// Lag is how many of the broker's batches it has not applied.
	Lag uint64 `json:"lag"`
	// AgeMS is how old its knowledge was when it was last heard of.
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
	// watchKeepAlive is the pause after which a comment tells that the stream is alive.
	watchKeepAlive = 10 * time.Second
	// watchComment is one; the first tells the reader that what happens from now on is shown.
	watchComment = ": watching\n\n"
)

// watch is GET /admin/v1/watch: server-sent events until the client goes away or the server
// drains. There is nothing to resume: who comes back begins with what happens then. A client
// that does not read is cut off.
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
