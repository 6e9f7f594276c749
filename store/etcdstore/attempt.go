package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tokenbroker/store"
)

const (
	// rounds is for how many tries of Config.TryFor each endpoint is asked.
	rounds = 3
	// maxPause is the longest pause after each endpoint was asked: during an election all of them refuse at once.
	maxPause = 100 * time.Millisecond
)

// turn is the time during which one endpoint is asked first.
type turn struct {
	at  int // the endpoint's index
	ctx context.Context
	end context.CancelFunc
}

func newTurn(run context.Context, at int) *turn {
	t := &turn{at: at}
	t.ctx, t.end = context.WithCancel(run)
	return t
}

// choose makes the endpoint the first that is asked.
func (s *Store) choose(at int) {
	before := s.turn.Load()
	if before.at == at {
		return
	}
	next := newTurn(s.run, at)
	if s.turn.CompareAndSwap(before, next) {
		before.end()
		s.config.Logger.Info("another etcd endpoint is asked first", "endpoint", s.endpoints[at].url, "before", s.endpoints[before.at].url)
	} else {
		next.end()
	}
}

// attempt calls do with one endpoint's client after the other until one answers or ctx ends, in turn from the one that
// answered last. do is called with a context that ends after Config.TryFor. The error is
// [store.ErrUnavailable] if no endpoint has answered, and that of ctx if it has ended.
func (s *Store) attempt(ctx context.Context, do func(context.Context, *clientv3.Client) error) error {
	begin := s.turn.Load().at
	until := time.Now().Add(s.config.patience)
	for i := 1; ; i++ {
		at := (begin + i - 1) % len(s.endpoints)
		err := s.try(ctx, s.endpoints[at], do)
		switch {
		case errors.Is(err, errSentOnce):
			return err
		case err == nil || !mayHelp(err):
			s.choose(at)
			return err
		case s.run.Err() != nil:
			return store.ErrClosed
		case ctx.Err() != nil:
			return fmt.Errorf("%w (%w)", ctx.Err(), err)
		case i%len(s.endpoints) != 0:
			continue
		case time.Now().After(until):
			return fmt.Errorf("%w: no member of the etcd cluster answers: %w", store.ErrUnavailable, err)
		}
		select {
		case <-time.After(s.pause()):
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", ctx.Err(), err)
		case <-s.run.Done():
			return store.ErrClosed
		}
	}
}

func (s *Store) pause() time.Duration { return min(s.config.TryFor/4, maxPause) }

// try asks one endpoint.
func (s *Store) try(ctx context.Context, e *endpoint, do func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.TryFor)
	defer cancel()
	client, err := s.connect(ctx, e)
	if err != nil {
		return err
	}
	return do(clientv3.WithRequireLeader(ctx), client) // a member that has lost its leader refuses at once
}

// mayHelp reports whether another endpoint may do what this one did not.
func mayHelp(err error) bool {
	if errors.Is(err, rpctypes.ErrNoSpace) {
		return false
	}
	switch code(err) {
	case codes.InvalidArgument, codes.PermissionDenied, codes.OutOfRange:
		return false
	}
	return true
}

// code returns the gRPC code of an error of etcd's client.
func code(err error) codes.Code {
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return known.Code()
	}
	return status.Code(err)
}
