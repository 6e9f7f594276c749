package broker

import (
	"context"
	"log/slog"
)

// audit writes one security event: always the message "audit", with what happened, from
// where and under which request id, with the operator who asked and their words. Never a
// token, a password or a hash.
func (b *Broker) audit(ctx context.Context, event string, req Request, attrs ...any) {
	b.auditAt(ctx, slog.LevelInfo, event, req, attrs)
}

// auditDebug is audit at debug level, for what happens all the time.
func (b *Broker) auditDebug(ctx context.Context, event string, req Request, attrs ...any) {
	b.auditAt(ctx, slog.LevelDebug, event, req, attrs)
}

// auditWarn is audit at warning level, for what an operator should look at.
func (b *Broker) auditWarn(ctx context.Context, event string, req Request, attrs ...any) {
	b.auditAt(ctx, slog.LevelWarn, event, req, attrs)
}

func (b *Broker) auditAt(ctx context.Context, level slog.Level, event string, req Request, attrs []any) {
	head := []any{"event", event, "addr", req.Addr, "request_id", req.ID}
	if req.Operator != "" {
		head = append(head, "operator", req.Operator, "note", req.Note)
	}
	attrs = append(head, attrs...)
	b.cfg.Audit.Log(ctx, level, "audit", attrs...)
}
