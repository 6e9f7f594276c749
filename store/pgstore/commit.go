package pgstore

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/store"
)

// CommitFenced implements [store.Engine]. A commit is one call of the function commit_v1 of the schema. A change of more than
// 1000 writes or 8 MiB never fits.
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
	b := newBuilder(fence)
	for i, change := range changes {
		errs[i] = b.add(i, change)
	}
	if err := b.seal(seal, errs); err != nil {
		return 0, store.FailRest(errs, err)
	}
	if len(b.members) == 0 && fence.Key == "" {
		return 0, errs
	}
	row, err := s.write(ctx, s.sql.commit, func(p *primary) args { return b.args(s, p) })
	s.noteSpace(err)
	switch {
	case err != nil:
		return 0, store.FailRest(errs, err)
	case row[0][0] != 0:
		return 0, store.FailRest(errs, store.ErrFenced)
	}
	revision := store.Revision(int64Of(row[1]))
	b.refuse(int32sOf(row[2]), errs)
	if revision != 0 {
		s.announce(b.written(errs))
	}
	return revision, errs
}

// written returns the keys of the parts that were written, with the fence's if it was written as sealed.
func (b *builder) written(errs []error) (keys []string) {
	for _, e := range b.entries {
		members := b.members[int(e.part)]
		if len(members) > 0 && errs[members[0]] == nil {
			keys = append(keys, e.Key)
		}
	}
	if members := b.members[eventsPart]; len(members) > 0 && errs[members[0]] == nil && b.fence.Key != "" {
		keys = append(keys, b.fence.Key)
	}
	return keys
}

// noteSpace notes whether the server has space for commits.
func (s *Store) noteSpace(err error) {
	full := errors.Is(err, store.ErrReadOnly)
	if (full || err == nil) && s.full.Swap(full) != full {
		if full {
			s.config.Logger.Error("the PostgreSQL server has no space and refuses writes", "error", err)
		} else {
			s.config.Logger.Info("the PostgreSQL server accepts writes again")
		}
	}
}

// refuse sets the errors of the parts that were not written: stale are the entries, from one, that were not as expected. A change with a
// stale key has a conflict; the others of its part are to be committed again, unless only the seal's key is stale.
func (b *builder) refuse(stale []int32, errs []error) {
	refused := make(map[int]error) // by part
	for _, i := range stale {
		e := b.entries[i-1]
		part := int(e.part)
		switch {
		case e.owner != sealed:
			errs[e.owner] = store.ErrConflict
			refused[part] = store.ErrRetry
		case refused[part] == nil:
			refused[part] = fmt.Errorf("sealing: %q does not have revision %d", e.Key, e.expect)
		}
	}
	for part, err := range refused {
		for _, i := range b.members[part] {
			if errs[i] == nil {
				errs[i] = err
			}
		}
	}
}
