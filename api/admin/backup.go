package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// Backup writes a backup of all records, as they are at one moment, to w. If it returns an error,
// what it wrote is not a usable backup.
type Backup func(ctx context.Context, w io.Writer) error

const (
	// backupPatience is how long the reader of a backup may pause.
	backupPatience = 30 * time.Second
	backupType     = "application/vnd.tokenbroker.backup"
)

// backup is GET /admin/v1/backup, one at a time. If the backup fails after it has started, the
// connection is cut, so that the reader does not take the answer for complete.
func (a *handler) backup(w http.ResponseWriter, r *http.Request) (err error) {
	if !a.backingUp.TryLock() {
		return &broker.Error{Code: broker.CodeBusy, Message: "Another backup is in progress; try again when it has ended.", RetryAfter: backupPatience}
	}
	defer a.backingUp.Unlock()
	out := &backupWriter{w: w, control: http.NewResponseController(w)}
	if r.Method == http.MethodHead {
		out.begin()
		return nil
	}
	if err = a.cfg.Backup(r.Context(), out); err == nil {
		a.audit(w, r, "backup")
		return nil
	}
	a.audit(w, r, "backup_failed")
	if !out.begun {
		return fmt.Errorf("writing a backup: %w", err)
	}
	a.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "a backup was cut off",
		slog.String("request_id", httpapi.EntryOf(r).ID), slog.String("error", err.Error()))
	panic(http.ErrAbortHandler)
}

// backupWriter sets a deadline for each write, in place of the listener's for the whole answer.
type backupWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (b *backupWriter) begin() {
	b.begun = true
	b.w.Header().Set("Content-Type", backupType)
	b.w.WriteHeader(http.StatusOK)
}

// Write implements [io.Writer].
func (b *backupWriter) Write(p []byte) (int, error) {
	// A writer without deadlines keeps the server's own.
	_ = b.control.SetWriteDeadline(time.Now().Add(backupPatience))
	if !b.begun {
		b.begin()
	}
	return b.w.Write(p)
}
