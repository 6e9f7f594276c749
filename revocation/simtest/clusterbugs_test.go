package simtest_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// The planted bugs of a cluster: those of the engine and its client first, then of a broker, then of a service.
const (
	bugHeadOutside bug = iota + 100
	bugFenceOnlyEvents
	bugEndBlindly
	bugSettleWithoutMove
	bugSerializableHeads
	bugSharedEarly
	bugRefusedIsNever
	bugOwnClock
	bugWaitForAbsent
	bugOriginDeleted
	bugUpAfterHeads
	bugVerifyWithoutBarrier
	bugDeltaOfNamed
	bugOneBase
	bugUnknownOrigin
	bugOwnHead
	bugResetKeepsBases
)

func TestPlantedClusterBugsAreCaught(t *testing.T) {
	if !clusterBugs {
		t.Skip("under the race detector only with TEST_LONG=1: it takes minutes")
	}
	catch(t, 5000, 3, simulateCluster, []planted{
		{"the head is written outside the transaction", bugHeadOutside},
		{"up is read after the heads", bugUpAfterHeads},
		{"an ended origin is deleted with its batches there", bugOriginDeleted},
		{"only commits with events are fenced", bugFenceOnlyEvents},
		{"an origin is ended without a comparison", bugEndBlindly},
		{"a settlement does not move the fence", bugSettleWithoutMove},
		{"the heads are read serializably", bugSerializableHeads},
		{"a collector uses its own clock", bugOwnClock},

		{"a request shares a read of the heads that began before it", bugSharedEarly},
		{"there is one base for all speakers", bugOneBase},
		{"a refused comparison means that the commit never happened", bugRefusedIsNever},
		{"verify does not wait for the heads", bugVerifyWithoutBarrier},
		{"an unknown origin in heads is ignored", bugUnknownOrigin},
		{"only the sender's own head counts", bugOwnHead},
		{"as_of only from the arrival", bugAsOfArrival},
		{"a delta leaves out origins that the position does not name", bugDeltaOfNamed},
		{"a reset of the clocks keeps the bases", bugResetKeepsBases},
		{"batches that were collected are waited for", bugWaitForAbsent},
	})
}

// listing is an answer that the link had.
type listing struct {
	asked, got time.Duration
	records    []store.Record
}

// listed returns what a broker is told of a list.
func (l *link) listed(asked time.Duration, prefix, after string, got []store.Record) ([]store.Record, error) {
	now := l.p.n.w.clock()
	switch {
	case l.p.n.w.bug == bugWaitForAbsent && strings.HasPrefix(prefix, "ledger.batch."):
		if o := l.p.n.c.audit.origins[strings.TrimSuffix(strings.TrimPrefix(prefix, "ledger.batch."), ".")]; o != nil && len(got) < len(o.batches) && after < lastKey(prefix, o.seq) {
			if len(got) == 0 || after != "" && got[0].Key != nextKey(after) {
				return nil, errAway
			}
		}
	case prefix != origins.Prefix:
	case l.p.n.w.bug == bugOwnClock:
		return slices.Collect(mapped(got, func(r store.Record) store.Record {
			o, err := origins.Decode(r)
			if err == nil && !o.Ended {
				o.ClockMS = l.p.n.wallMS()
				r.Value = o.Encode()
			}
			return r
		})), nil
	case l.p.n.w.bug == bugSerializableHeads, l.p.n.w.bug == bugSharedEarly:
		l.lists = append(l.lists, listing{asked, now, got})
		if len(l.lists) == 1 {
			return got, nil
		}
		last := l.lists[len(l.lists)-2]
		if l.p.n.w.bug == bugSerializableHeads && asked-last.asked < 2*time.Second || asked-last.got <= 2*time.Millisecond {
			return l.others(last.records, got), nil
		}
	}
	return got, nil
}

// others returns old records, and the own one as it is now: the broker notices if that goes back.
func (l *link) others(old, now []store.Record) []store.Record {
	own := func(r store.Record) bool { return l.p.run != nil && r.Key == origins.Key(l.p.run.Origin()) }
	old = slices.DeleteFunc(slices.Clone(old), own)
	if i := slices.IndexFunc(now, own); i >= 0 {
		old = append(old, now[i])
	}
	slices.SortFunc(old, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	return old
}

func lastKey(prefix string, seq uint64) string { return fmt.Sprintf("%s%016d", prefix, seq) }

func nextKey(key string) string {
	var seq uint64
	i := strings.LastIndexByte(key, '.')
	if _, err := fmt.Sscanf(key[i+1:], "%d", &seq); err != nil {
		return ""
	}
	return lastKey(key[:i+1], seq+1)
}

func mapped[T any](all []T, change func(T) T) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for _, one := range all {
			if !yield(change(one)) {
				return
			}
		}
	}
}

// direct changes a record without a fence.
func (c *cluster) direct(write store.Write) {
	a := &attempt{changes: []store.Change{{Writes: []store.Write{write}}}}
	_, _ = c.audit.reader.CommitFenced(c.w.ctx, store.Fence{}, a.changes, nil)
	c.audit.look(a)
}

// deleteEnded deletes the records of ended origins without a look at their batches.
func (c *cluster) deleteEnded() {
	for _, id := range slices.Sorted(maps.Keys(c.audit.origins)) {
		if o := c.audit.origins[id]; o.ended && !o.removed {
			c.direct(store.Write{Key: origins.Key(id), Delete: true, Blind: true})
		}
	}
	c.w.after(5*time.Second, c.deleteEnded)
}

// settled answers a settlement without the engine.
func (l *link) settled(a *attempt) (store.Revision, []error, bool) {
	settlement := a.fence.Key != "" && bytes.Equal(a.fence.Value, a.fence.Sealed)
	if l.p.n.w.bug == bugSettleWithoutMove && settlement {
		return a.fence.Expect, make([]error, len(a.changes)), true
	}
	return 0, nil, false
}

// planted returns what of a commit reaches the engine.
func (l *link) planted(a *attempt) (store.Fence, []store.Change) {
	w, c := l.p.n.w, l.p.n.c
	fence, changes := a.fence, a.changes
	switch w.bug {
	case bugHeadOutside:
		fence.Sealed = fence.Value
		if fence.Key != "" && len(a.sealed) > 0 {
			w.after(200*time.Millisecond, func() {
				if r := c.audit.get([]string{a.fence.Key})[0]; bytes.Equal(r.Value, a.fence.Value) {
					c.direct(store.Write{Key: r.Key, Value: a.fence.Sealed, Expect: r.Revision})
				}
			})
		}
	case bugFenceOnlyEvents:
		if fence.Key != "" && len(a.sealed) == 0 && l.fault == memstore.Keep {
			late := &attempt{node: a.node, changes: a.changes}
			w.after(w.between(time.Second, 5*time.Second), func() {
				_, _ = c.audit.reader.CommitFenced(w.ctx, store.Fence{}, late.changes, nil)
				c.audit.look(late)
			})
		}
	case bugEndBlindly: // with a write that takes some time on its way
		changes = slices.Clone(changes)
		for i, change := range changes {
			end := func(w store.Write) bool {
				return strings.HasPrefix(w.Key, origins.Prefix) && w.Expect != 0 && !w.Delete
			}
			if slices.ContainsFunc(change.Writes, end) {
				write := change.Writes[slices.IndexFunc(change.Writes, end)]
				write.Blind = true
				changes[i].Writes = nil
				w.after(w.between(0, 30*time.Second), func() { c.direct(write) })
			}
		}
	}
	return fence, changes
}

// result returns what a broker is told of a commit.
func (l *link) result(rev store.Revision, errs []error) (store.Revision, []error) {
	if l.p.n.w.bug == bugRefusedIsNever && rev == 0 && l.fault == memstore.LoseAnswer { // the commit was sent again
		return 0, store.FailRest(make([]error, len(errs)), errAway)
	}
	return rev, errs
}

// position returns the position that a catch-up is made for.
func (p *process) position(after string) string {
	if p.n.w.bug != bugDeltaOfNamed || after == "" {
		return after
	}
	for _, id := range slices.Sorted(maps.Keys(p.n.c.audit.origins)) {
		if o := p.n.c.audit.origins[id]; !o.removed && !strings.Contains(after, id) {
			after += fmt.Sprintf(",%s.%d", id, o.seq)
		}
	}
	return after
}

// misread returns the heartbeat that a service believes to have heard.
func (s *service) misread(h revocation.Heartbeat) revocation.Heartbeat {
	applied := s.tracker.Applied()
	switch s.w.bug {
	case bugOneBase:
		if head, ok := h.Heads[s.speaker]; ok {
			h.Origin, h.Head = s.speaker, head
		}
	case bugUnknownOrigin:
		h.Heads = maps.Clone(h.Heads)
		maps.DeleteFunc(h.Heads, func(id string, _ uint64) bool { _, known := applied[id]; return !known && id != h.Origin })
	case bugOwnHead:
		h.Heads = map[string]uint64{h.Origin: h.Head}
	}
	return h
}

// misattribute makes an answer one of the only speaker.
func (s *service) misattribute(a *revocation.Answer) {
	if s.w.bug != bugOneBase {
		return
	}
	if !slices.ContainsFunc(a.Origins, func(o revocation.OriginHead) bool { return o.Origin == s.speaker }) {
		s.speaker = a.Origin
	}
	a.Origin = s.speaker
}
