package broker

import (
	"context"
	"log/slog"
)

// Audit writes security events. Each is one line with the message "audit": the event, the address
// and the id of the request, the operator who sent the request with their note, and the event's own attributes.
// Callers never pass a token, a password or a hash.
type Audit struct{ Logger *slog.Logger }

// Info writes an event at information level.
func (a Audit) Info(ctx context.Context, event string, req Request, attrs ...any) {
	a.write(ctx, slog.LevelInfo, event, req, attrs)
}

// Debug writes a frequent event at debug level.
func (a Audit) Debug(ctx context.Context, event string, req Request, attrs ...any) {
	a.write(ctx, slog.LevelDebug, event, req, attrs)
}

// Warn writes an event that an operator should look at, at warning level.
func (a Audit) Warn(ctx context.Context, event string, req Request, attrs ...any) {
	a.write(ctx, slog.LevelWarn, event, req, attrs)
}

func (a Audit) write(ctx context.Context, level slog.Level, event string, req Request, attrs []any) {
	head := []any{"event", event, "addr", req.Addr, "request_id", req.ID}
	if req.Operator != "" {
		head = append(head, "operator", req.Operator, "note", req.Note)
	}
	a.Logger.Log(ctx, level, "audit", append(head, attrs...)...)
}
