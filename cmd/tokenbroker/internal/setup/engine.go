package setup

import (
	"context"
	"log/slog"
	"time"

	"tokenbroker/config"
	"tokenbroker/store"
)

// connectTimeout is how long a start waits for a server that answers.
const connectTimeout = 20 * time.Second

// Engine is a store that several brokers share.
type Engine interface {
	store.Engine
	store.Sweeper
	// Each calls fn for every record whose key begins with prefix, in key order and as of one view.
	Each(ctx context.Context, prefix string, fn func(store.Write) error) error
	// Where names the store in messages, such as "the etcd prefix tokenbroker/".
	Where() string
	Close() error
}

// OpenEngine connects to the store that several brokers share. It returns nil if the configuration has none. The
// caller closes the engine. Records expire by the clock Node.Wall.
func (b *Built) OpenEngine(ctx context.Context, logger *slog.Logger) (Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	switch {
	case b.Etcd != nil:
		return openEtcd(ctx, *b.Etcd, b.Node.Wall, logger)
	case b.Postgres != nil:
		return openPostgres(ctx, *b.Postgres, b.Node.Wall, logger)
	}
	return nil, nil
}

// OpenEngine is [Built.OpenEngine] for a command that needs only the store.
func OpenEngine(ctx context.Context, cfg config.Store, logger *slog.Logger) (Engine, error) {
	var problems config.Problems
	note := func(key string, err error) {
		if err != nil {
			problems = append(problems, config.Problem{Key: key, Message: err.Error()})
		}
	}
	built := &Built{Etcd: etcdOf(cfg, note), Postgres: Postgres(cfg)}
	if len(problems) > 0 {
		return nil, problems
	}
	return built.OpenEngine(ctx, logger)
}
