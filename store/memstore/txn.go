package memstore

import (
	"fmt"
	"maps"
	"slices"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// txn is a commit as it is sent to the engine: what the client decides without knowing the records.
type txn struct {
	fence  store.Fence
	alone  []member // judged each by itself
	group  []member // the changes with events
	sealed []store.Write
}

// member is a change of a commit, by its index there.
type member struct {
	index  int
	writes []store.Write
}

// results is the engine's answer to a txn.
type results struct {
	revision store.Revision
	errs     map[int]error
}

// prepare selects the changes that fit into one transaction and have different keys, and seals their
// events. It fills errs for the others. An error refuses the commit.
func (e *Engine) prepare(fence store.Fence, changes []store.Change, errs []error, seal store.Seal) (*txn, error) {
	e.mu.Lock()
	limit := e.limit
	e.mu.Unlock()
	t := &txn{fence: fence}
	var events []revocation.Event
	taken := map[string]bool{fence.Key: true} // by the changes so far
	operations, full := 0, false
	for i, change := range changes {
		size := len(change.Writes) + len(change.Events)
		switch err := validate(change.Writes); {
		case full:
			errs[i] = store.ErrTooBig
		case err != nil:
			errs[i] = err
		case limit > 0 && size > limit:
			errs[i] = fmt.Errorf("committing: one change of %d operations exceeds the limit of %d", size, limit)
		case limit > 0 && operations+size > limit:
			full, errs[i] = true, store.ErrTooBig
		case fence.Key != "" && writesKey(change.Writes, fence.Key):
			errs[i] = fmt.Errorf("committing: a change writes the fence's record %q", fence.Key)
		case take(taken, change.Writes):
			errs[i] = store.ErrRetry
		default:
			operations += size
			m := member{i, change.Writes}
			if len(change.Events) == 0 {
				t.alone = append(t.alone, m)
			} else {
				t.group, events = append(t.group, m), append(events, change.Events...)
			}
		}
	}
	if len(events) == 0 {
		return t, nil
	}
	if seal == nil {
		return nil, errNoSeal
	}
	var err error
	if t.sealed, err = seal(events); err == nil {
		err = validate(t.sealed)
	}
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	// A transaction writes each key once.
	t.alone = slices.DeleteFunc(t.alone, func(m member) bool {
		shared := slices.ContainsFunc(m.writes, func(w store.Write) bool { return writesKey(t.sealed, w.Key) })
		if shared {
			errs[m.index] = store.ErrRetry
		}
		return shared
	})
	return t, nil
}

// take adds the keys of writes to taken, and reports whether one of them was there before.
func take(taken map[string]bool, writes []store.Write) (shared bool) {
	for _, w := range writes {
		shared = shared || taken[w.Key]
	}
	for _, w := range writes {
		taken[w.Key] = true
	}
	return shared
}

func writesKey(writes []store.Write, key string) bool {
	return slices.ContainsFunc(writes, func(w store.Write) bool { return w.Key == key })
}

// apply judges the transaction on the records as they are, and writes what it accepts, if the fence has not moved.
func (e *Engine) apply(t *txn) results {
	r, written := e.judge(t)
	if len(written) > 0 {
		e.notify(written)
	}
	return r
}

func (e *Engine) judge(t *txn) (results, map[string]store.Write) {
	e.table.mu.Lock()
	defer e.table.mu.Unlock()
	v := e.table.view()
	v.sweeps = true
	r := results{errs: map[int]error{}}
	if t.fence.Key != "" {
		if at, _ := v.live(t.fence.Key); at.revision != t.fence.Expect {
			for _, m := range slices.Concat(t.alone, t.group) {
				r.errs[m.index] = store.ErrFenced
			}
			return r, nil
		}
	}
	written := map[string]store.Write{}
	for _, m := range t.alone {
		r.errs[m.index] = v.accept(m.writes, written)
	}
	value := t.fence.Value
	if group, accepted := t.judgeGroup(v, r); accepted {
		maps.Copy(written, group)
		value = t.fence.Sealed
	}
	if t.fence.Key != "" {
		written[t.fence.Key] = store.Write{Key: t.fence.Key, Value: value}
	}
	r.revision = e.table.apply(written)
	return r, written
}

// judgeGroup judges the changes with events together with the sealed writes.
func (t *txn) judgeGroup(v view, r results) (written map[string]store.Write, accepted bool) {
	if len(t.group) == 0 {
		return nil, false
	}
	written, accepted = map[string]store.Write{}, true
	for _, m := range t.group {
		if err := v.accept(m.writes, written); err != nil {
			r.errs[m.index], accepted = err, false
		}
	}
	others := store.ErrRetry
	if accepted {
		err := v.accept(t.sealed, written)
		if err == nil {
			return written, true
		}
		others = fmt.Errorf("sealing: %w", err)
	}
	for _, m := range t.group {
		if r.errs[m.index] == nil {
			r.errs[m.index] = others
		}
	}
	return nil, false
}

// clone returns a copy that shares nothing with the caller's changes.
func (t *txn) clone() *txn {
	c := *t
	c.fence.Value, c.fence.Sealed = slices.Clone(t.fence.Value), slices.Clone(t.fence.Sealed)
	c.alone, c.group, c.sealed = cloneMembers(t.alone), cloneMembers(t.group), cloneWrites(t.sealed)
	return &c
}

func cloneMembers(members []member) []member {
	clones := slices.Clone(members)
	for i := range clones {
		clones[i].writes = cloneWrites(clones[i].writes)
	}
	return clones
}

func cloneWrites(writes []store.Write) []store.Write {
	clones := slices.Clone(writes)
	for i := range clones {
		clones[i].Value = slices.Clone(clones[i].Value)
	}
	return clones
}
