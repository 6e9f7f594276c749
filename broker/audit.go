package broker

import (
	"context"
	"log/slog"
)

// audit writes one security event: always the message "audit", with what happened, from
// where and under which request id, with the operator who asked and their words. Never a
// token, a password or a hash.
func (b *Broker) audit(ctx context.Context, event string, req Request, attrs ...any) {
	head := []any{"event", event, "addr", req.Addr, "request_id", req.ID}
	if req.Operator != "" {
		head = append(head, "operator", req.Operator, "note", req.Note)
	}
	attrs = append(head, attrs...)
	b.cfg.Logger.Log(ctx, slog.LevelInfo, "audit", attrs...)
}
