package etcdstore

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Follow implements [store.Engine] by a watch at the endpoint that is asked first. It moves when another one is, because
// the watch of a member that does not answer stays silent.
func (s *Store) Follow(ctx context.Context, prefix string) <-chan struct{} {
	hints := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return hints
	}
	hint := func() {
		select {
		case hints <- struct{}{}:
		default:
		}
	}
	s.follows.Go(func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.run, cancel)()
		for ctx.Err() == nil {
			s.watch(ctx, prefix, hint)
			select {
			case <-time.After(s.pause()):
			case <-ctx.Done():
			}
		}
	})
	return hints
}

// watch calls hint when it begins, because what changed before is not known, and for changes below prefix, until the watch fails, another endpoint is asked first, or ctx ends.
func (s *Store) watch(ctx context.Context, prefix string, hint func()) {
	turn := s.turn.Load()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(turn.ctx, cancel)()
	client, err := s.connect(ctx, s.endpoints[turn.at])
	if err != nil {
		return
	}
	for response := range client.Watch(clientv3.WithRequireLeader(ctx), s.name(prefix), clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		if response.Err() != nil {
			return
		}
		hint()
	}
}
