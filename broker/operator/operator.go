// Package operator implements the use cases of operators: users, sessions, revocations of every kind, clients, and
// the preparation of a restored store. The JSON of its types is that of /admin/v1
// and of the commands' --output json. Times are in RFC 3339.
package operator

import (
	"cmp"
	"context"
	"log/slog"

	"golang.org/x/sync/semaphore"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// Config wires a [Service]. Everything without a stated default is required.
type Config struct {
	Path     *commit.Path
	Store    store.Reader // the path's
	Ledger   broker.Ledger
	Denylist broker.Denylist
	// Keys is the keyring that RevokeKey changes. It may be nil if RevokeKey is not used.
	Keys      broker.Keys
	Clock     broker.Clock
	Passwords broker.Passwords
	Policy    session.Policy // the path's
	// Shared is true if several brokers share the store.
	Shared bool

	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Audit receives the lines of security events. If nil, Logger receives them.
	Audit *slog.Logger
}

// Service has the use cases of operators. A user's ref is a uid or a local user name. It is safe for
// concurrent use.
type Service struct {
	cfg    Config
	path   *commit.Path
	audit  broker.Audit
	naming *semaphore.Weighted // of weight 1, for indexNames
}

// New returns the use cases on the commit path.
func New(cfg Config) *Service {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	return &Service{
		cfg: cfg, path: cfg.Path, audit: broker.Audit{Logger: cmp.Or(cfg.Audit, cfg.Logger)},
		naming: semaphore.NewWeighted(1),
	}
}

// delivered adds the result of the delivery of the events recorded at seq to answer.
func delivered(ctx context.Context, delivery *commit.Delivery, answer Revoked, seq uint64) Revoked {
	answer.Broadcast, answer.ReceiptSummary = delivery.Wait(ctx, seq)
	return answer
}
