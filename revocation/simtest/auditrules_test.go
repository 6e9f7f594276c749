package simtest_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// batch checks a batch that was written or collected (3, 6, 8).
func (a *audit) batch(nameOf string, now store.Record) {
	id, digits, _ := strings.Cut(nameOf, ".")
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		a.c.w.fail("batch %s: %v", nameOf, err)
		return
	}
	o := a.of(id)
	b := o.batches[seq]
	if now.Revision == 0 {
		a.collected(o, seq)
		return
	}
	var batch revocation.Batch
	if err := json.Unmarshal(now.Value, &batch); err != nil {
		a.c.w.fail("batch %s: %v", nameOf, err)
		return
	}
	switch {
	case b != nil && !bytes.Equal(b.value, now.Value):
		a.c.w.fail("3: batch %.4s.%d has two payloads", id, seq)
	case b != nil && b.gone:
		a.c.w.fail("3: batch %.4s.%d comes back", id, seq)
	case b == nil && seq != o.seq+1:
		a.c.w.fail("3: batch %.4s.%d follows %d", id, seq, o.seq)
	case o.ended || o.removed:
		a.c.w.fail("6: batch %.4s.%d appears after its origin ended", id, seq)
	}
	o.seq = max(o.seq, seq)
	o.batches[seq] = &batchAudit{value: now.Value, events: batch.Events, written: a.c.w.now}
	for _, e := range batch.Events {
		a.c.w.say("revoked %s %.6s in %.4s.%d until %d", e.Kind, e.Value, id, seq, e.ExpiresAt)
		for _, t := range a.c.w.twin.hit(a.c.store, e) {
			t.revoked = true
			if e.Kind == revocation.KindSID {
				a.covered(t, e)
			}
		}
		if e.Kind == revocation.KindSID {
			a.ended[e.Value] = e
		}
	}
}

// covered checks that no token outlives the event that ended its session (2).
func (a *audit) covered(t *token, e revocation.Event) {
	if t.exp+leeway > e.ExpiresAt {
		a.c.w.fail("2: a token of session %.6s is valid until %d, its revocation until %d", t.SID, t.exp, e.ExpiresAt)
	}
}

// collected checks a batch that is deleted (8).
func (a *audit) collected(o *originAudit, seq uint64) {
	b := o.batches[seq]
	if b == nil || b.gone {
		return
	}
	b.gone = true
	counts["batches collected"]++
	for _, e := range b.events {
		length := time.Duration(e.ExpiresAt-e.At) * time.Second
		if ran := a.c.w.now - b.written; ran < length-slack {
			a.c.w.fail("8: an event of %s was collected after %s", length, ran)
		}
		for id, other := range a.origins {
			// A broker that joined later was not in the collector's view: a commit that has to be settled is sent again,
			// in these runs up to a minute later. Such a broker has the batch in memory until it follows the time floor
			// that moves with the deletion, and no broker's clock is below the floor.
			clock := max(other.clockMS, a.c.readBy(id))
			if !other.ended && !other.removed && a.c.w.now-other.joined > time.Minute && clock <= e.ExpiresAt*1000 {
				a.c.w.fail("8: an event until %d was collected, the clock of live origin %.4s is %d", e.ExpiresAt, id, clock)
			}
		}
	}
}

// readBy returns the highest time that the process of an origin has read from its clock.
func (c *cluster) readBy(id string) int64 {
	for _, n := range c.nodes {
		if p := n.p; p != nil && p.run != nil && p.run.Origin() == id {
			return p.highest.Load()
		}
	}
	return 0
}

// session checks the change of a session's record (1, 2).
func (a *audit) session(before, now store.Record) {
	if before.Revision == 0 {
		return
	}
	old, err := session.DecodeSession(before.Value)
	if err != nil {
		a.c.w.fail("%v", err)
		return
	}
	s, err := session.DecodeSession(now.Value)
	switch {
	case err != nil:
		a.c.w.fail("%v", err)
	case old.Ended != nil:
		a.c.w.fail("2: the tombstone of session %.6s was written over", s.SID)
	case s.Generation < old.Generation || s.Generation > old.Generation+1 || s.TokenExp < old.TokenExp:
		a.c.w.fail("1: session %.6s goes from generation %d (%d) to %d (%d)", s.SID, old.Generation, old.TokenExp, s.Generation, s.TokenExp)
	}
}

// rotation checks an acknowledged rotation (1).
func (a *audit) rotation(sid string, generation uint32) {
	r := rotation{sid, generation}
	if a.rotated[r] {
		a.c.w.fail("1: generation %d of session %.6s has two successors", generation, sid)
	}
	a.rotated[r] = true
	counts["rotations"]++
}

// acknowledge records that a caller learns of a batch (3).
func (a *audit) acknowledge(n *node, id string, seq uint64) {
	o := a.of(id)
	r := a.get([]string{"origin." + id})[0]
	var record struct {
		Head uint64 `json:"head"`
	}
	if r.Revision != 0 {
		if err := json.Unmarshal(r.Value, &record); err != nil {
			a.c.w.fail("%v", err)
		}
	}
	if !o.removed && record.Head < seq {
		a.c.w.fail("3: %s acknowledges batch %d of its origin, whose head is %d", n.name, seq, record.Head)
	}
	if o.batches[seq] == nil {
		a.c.w.fail("3: %s acknowledges batch %d of its origin, which is not on record", n.name, seq)
	}
	o.acked = append(o.acked, acked{seq, a.c.w.now})
}

// heads checks the heads in a heartbeat or an answer of a broker, before whose time up everything
// acknowledged must be at or below them (4).
func (a *audit) heads(n *node, what string, up time.Duration, heads map[string]uint64) {
	for id, o := range a.origins {
		for _, k := range o.acked {
			if b := o.batches[k.seq]; k.at < up && k.seq > heads[id] && b != nil && !b.gone {
				a.c.w.fail("4: %s of %s says %d of origin %.4s as of %s, batch %d was acknowledged at %s", what, n.name, heads[id], id, up, k.seq, k.at)
			}
		}
	}
}

// lineage checks that each version of the keyring was made of the one before (9).
func (a *audit) lineage(before, now store.Record) {
	var old, next ring
	if before.Revision != 0 {
		if err := json.Unmarshal(before.Value, &old); err != nil {
			a.c.w.fail("%v", err)
		}
	}
	counts["versions of the keyring"]++
	if err := json.Unmarshal(now.Value, &next); err != nil || next.Parent != old.ID {
		a.c.w.fail("9: version %s of the keyring replaces %s and was made of %s", next.ID, old.ID, next.Parent)
	}
}
