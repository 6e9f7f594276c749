package api

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"
)

const (
	// watchKeepAlive is the pause after which a comment tells that the stream is alive.
	watchKeepAlive = 10 * time.Second
	// watchComment is one; the first tells the reader that what happens from now on is shown.
	watchComment = ": watching\n\n"
)

// watch is GET /admin/v1/watch: server-sent events until the client goes away or the server
// drains. There is nothing to resume: who comes back begins with what happens then. A client
// that does not read is cut off.
func (a *admin) watch(w http.ResponseWriter, r *http.Request) error {
	watcher, err := a.cfg.Watching.Watch()
	if err != nil {
		return err
	}
	defer watcher.Close()
	out := newEventWriter(w, defaultStreamTimeout)
	if r.Method == http.MethodHead {
		return nil
	}
	defer out.farewell()
	for err = out.write([]byte(watchComment)); err == nil; {
		var e WatchEvent
		ctx, cancel := context.WithTimeout(r.Context(), watchKeepAlive)
		e, err = watcher.Next(ctx)
		cancel()
		switch {
		case err == nil:
			err = out.write([]byte("event: "+e.Name+"\ndata: "), e.Data, []byte("\n\n"))
		case errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil:
			err = out.write([]byte(watchComment))
		}
	}
	if r.Context().Err() == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		exchangeOf(r).cause = err
	}
	return nil
}
