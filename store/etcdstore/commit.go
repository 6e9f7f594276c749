package etcdstore

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"tokenbroker/store"
)

// CommitFenced implements [store.Engine]. A commit is one transaction of etcd:
//
//	IF the fence has its revision
//	THEN for each change without events: IF its keys have their revisions THEN its writes ELSE read them
//	     for the changes with events:    IF all their keys … THEN their writes, the seal's, the fence as sealed ELSE the fence, read them
func (s *Store) CommitFenced(ctx context.Context, fence store.Fence, changes []store.Change, seal store.Seal) (store.Revision, []error) {
	errs := make([]error, len(changes))
	if err := ctx.Err(); err != nil {
		return 0, store.FailRest(errs, err)
	}
	select {
	case s.committing <- struct{}{}:
		defer func() { <-s.committing }()
	case <-ctx.Done():
		return 0, store.FailRest(errs, ctx.Err())
	}
	b := s.newBuilder(fence)
	for i, change := range changes {
		errs[i] = b.add(i, change)
	}
	if err := b.seal(seal, errs); err != nil {
		return 0, store.FailRest(errs, err)
	}
	if len(b.parts) == 0 && fence.Key == "" {
		return 0, errs
	}
	response, at, err := s.send(ctx, b)
	if err != nil {
		return 0, store.FailRest(errs, err)
	}
	wrote := fence.Key != ""
	for i, p := range b.parts {
		answer := response.Responses[at+i].GetResponseTxn()
		wrote = wrote || answer.Succeeded
		if !answer.Succeeded {
			p.refuse(answer, errs)
		}
	}
	if !wrote {
		return 0, errs
	}
	return store.Revision(response.Header.Revision), errs
}

// send sends the transaction until a member answers, and returns the answer and the index of the first part in it. With
// a fence the transaction may be sent again: it is applied once at most. Without one, an answer that does not come leaves
// the outcome unknown.
func (s *Store) send(ctx context.Context, b *builder) (response *clientv3.TxnResponse, parts int, err error) {
	compare, then := b.txn()
	sent := sends{once: b.fence.Key == ""}
	err = s.attempt(context.WithValue(ctx, sendsKey{}, &sent), func(ctx context.Context, c *clientv3.Client) (err error) {
		response, err = c.Txn(ctx).If(compare...).Then(then...).Commit()
		return err
	})
	s.noteSpace(err)
	switch {
	case err == nil && response.Succeeded:
		return response, len(then) - len(b.parts), nil
	case err == nil && sent.n <= 1:
		return nil, 0, store.ErrFenced
	case err == nil: // perhaps by an earlier copy
		return nil, 0, fmt.Errorf("%w: the fence has moved, and an answer was lost", store.ErrUncertain)
	case errors.Is(err, rpctypes.ErrNoSpace) && sent.n == 1 && !s.unmoved(ctx, b.fence):
		// A member applies a transaction that had space when it was proposed and has none when it is applied, and
		// answers like that.
		return nil, 0, fmt.Errorf("%w: %w", store.ErrUncertain, err)
	case sent.n == 0, sent.n == 1 && !mayHelp(err):
		return nil, 0, s.refused(b, err) // nothing was written
	}
	return nil, 0, fmt.Errorf("%w: %w", store.ErrUncertain, err)
}

// unmoved reports whether a fence certainly has the expected revision still.
func (s *Store) unmoved(ctx context.Context, fence store.Fence) bool {
	if fence.Key == "" {
		return false
	}
	records, err := s.GetMany(ctx, []string{fence.Key})
	return err == nil && records[0].Revision == fence.Expect
}

// noteSpace notes whether the cluster has space for commits.
func (s *Store) noteSpace(err error) {
	full := errors.Is(err, rpctypes.ErrNoSpace)
	if (full || err == nil) && s.full.Swap(full) != full {
		if full {
			s.config.Logger.Error("the etcd cluster has no space and refuses writes: compact and defragment it, or raise its quota, and disarm the alarm NOSPACE")
		} else {
			s.config.Logger.Info("the etcd cluster accepts writes again")
		}
	}
}

// refused returns the result of a commit that the cluster has refused, or that did not reach it.
func (s *Store) refused(b *builder, err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", store.ErrReadOnly, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge) && b.count > 1 && s.maxBytes > minTxnBytes:
		s.maxBytes = max(min(s.maxBytes, b.bytes)/2, minTxnBytes)
		s.config.Logger.Warn("the etcd members accept only small requests: set their --max-request-bytes to at least 1.5 MiB", "limit", s.maxBytes)
		return fmt.Errorf("%w: %w", store.ErrRetry, err)
	}
	return fmt.Errorf("committing: %w", err)
}

// refuse sets the errors of a part that was not written: a change with a stale key has a conflict, the others are to be
// committed again, unless only the seal's key is stale.
func (p *part) refuse(answer *pb.TxnResponse, errs []error) {
	others := store.ErrRetry
	var seal error
	for i, c := range p.keys {
		var now int64
		for _, kv := range answer.Responses[i].GetResponseRange().GetKvs() {
			now = kv.ModRevision
		}
		switch {
		case now == c.want:
		case c.owner == sealed:
			seal = fmt.Errorf("sealing: %q has revision %d, expected %d", c.key, now, c.want)
		default:
			errs[c.owner] = store.ErrConflict
		}
	}
	stale := false
	for _, i := range p.changes {
		stale = stale || errs[i] != nil
	}
	if seal != nil && !stale {
		others = seal
	}
	for _, i := range p.changes {
		if errs[i] == nil {
			errs[i] = others
		}
	}
}
