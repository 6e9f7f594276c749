package revocation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// CatchUpDone reports the result of the catch-up with that id: an answer whose bounds were
// checked, or the error. Results of cancelled catch-ups are ignored. If the error has a method
// RetryAfter() time.Duration that returns more than 0, the next attempt follows after that time,
// for example while the broker prepares a large answer; after other errors the waits grow.
func (t *Tracker) CatchUpDone(now Instant, id uint64, a *Answer, err error) Effects {
	t.observe(now)
	if t.inFlight != 0 && id == t.inFlight {
		t.inFlight = 0
		switch {
		case err != nil || a == nil:
			t.catchUpFailed(now, err)
		case !a.Full && (t.sentAfter == "" || a.Store != t.store):
			t.note("the catch-up answer is partial although a full one was requested")
			t.distrust = true
			t.catchUpFailed(now, nil)
		default:
			t.failures = 0
			t.notBefore = t.sentAt + catchUpSpacing + t.jitter(catchUpSpacing)
			t.applyAnswer(now, id, a)
		}
	}
	return t.settle(now)
}

func (t *Tracker) catchUpFailed(now Instant, err error) {
	t.wanted = true
	t.distrust = t.distrust || t.sentDistrust
	var named interface{ RetryAfter() time.Duration }
	if errors.As(err, &named) && named.RetryAfter() > 0 {
		wait := min(named.RetryAfter(), catchUpBackoff)
		t.notBefore = now.Mono + wait + t.jitter(wait/4)
	} else {
		wait := min(catchUpSpacing<<min(t.failures, 10), catchUpBackoff)
		t.failures++
		t.notBefore = now.Mono + wait/2 + t.jitter(wait/2)
	}
	t.notBefore = max(t.notBefore, t.sentAt+catchUpSpacing)
}

func (t *Tracker) jitter(d time.Duration) time.Duration {
	return time.Duration(t.cfg.Jitter() * float64(d))
}

func (t *Tracker) startCatchUp(now Instant) {
	t.lastID++
	t.inFlight = t.lastID
	t.sentAt = now.Mono
	t.sentDistrust = t.distrust
	t.wanted, t.distrust = false, false
	t.sentAfter = ""
	for _, o := range t.origins {
		o.asked = o.head
	}
	if !t.sentDistrust {
		t.sentAfter = t.position()
	}
	t.eff.CatchUp = &CatchUp{ID: t.lastID, After: t.sentAfter}
}

// position returns the position up to which everything is known.
func (t *Tracker) position() string {
	known := make(map[string]uint64, len(t.origins))
	for name, o := range t.origins {
		if o.listed || o.applied > 0 {
			known[name] = o.applied
		}
	}
	return FormatPosition(known)
}

// applyAnswer applies an answer. The origins that it lists replace those that were followed.
func (t *Tracker) applyAnswer(now Instant, id uint64, a *Answer) {
	t.checkStores(now, a)
	t.eff.Kids = append(t.eff.Kids, a.Kids...)
	t.eff.Apply = append(t.eff.Apply, a.Events...)
	t.answeredAt, t.answeredMS, t.startedMS = t.sentAt, a.AtMS, a.AtMS-a.Up
	t.token.retry(now.Mono)
	t.feed.retry(now.Mono)
	if t.sentDistrust {
		t.forgetProofs()
	}
	t.list(id, a)
	s := t.speaker(a.Origin)
	s.hasBase, s.base = true, t.sentAt-time.Duration(a.Up)*time.Millisecond
	t.prove(a.Origin, proof{asOf: t.sentAt, arrival: now.Mono, atMS: a.AtMS, floor: a.TimeFloor})
	t.advance()
	t.replayBuffer(now)
	t.replayNamed(now)
}

// list replaces the origins by those of an answer.
func (t *Tracker) list(id uint64, a *Answer) {
	listed := make(map[string]*origin, len(a.Origins))
	rewound := ""
	for _, head := range a.Origins {
		o := t.origins[head.Origin]
		if o == nil {
			o = &origin{}
		} else if t.sentDistrust {
			o = &origin{head: o.head, asked: o.asked, until: o.until}
		}
		if o.rewound = head.Head < o.asked; o.rewound {
			rewound = fmt.Sprintf("the store was rewound: origin %s was at batch %d, and a later answer states %d",
				head.Origin, o.asked, head.Head)
		}
		o.coverTo(head.Head)
		t.eff.Receipt = o.receiptDue() || t.eff.Receipt
		o.listed, o.incomplete, o.hole = true, false, false
		listed[head.Origin] = o
		delete(t.heard, head.Origin)
		t.copies.Forget(head.Origin)
	}
	for _, name := range slices.Sorted(maps.Keys(t.origins)) {
		o := t.origins[name]
		switch {
		case listed[name] != nil:
		case !o.listed && o.since >= id: // named after the request was sent
			listed[name] = o
		case len(a.Origins) > 1 && o.until > max(a.TimeFloor, t.floor.unix):
			// Brokers that share a store list an origin until its batches are collected, which raises the time floor.
			o.rewound = true
			rewound = fmt.Sprintf("the store was rewound: origin %s has batches that are not collected, and a later answer does not list it", name)
			listed[name] = o
		default:
			t.end(name, a.AtMS)
		}
	}
	t.origins = listed
	t.reportRewound(rewound)
}

// end forgets an origin that an answer does not list; atMS is the broker's clock in it.
func (t *Tracker) end(name string, atMS int64) {
	delete(t.speakers, name)
	if len(t.gone) >= maxGone {
		clear(t.gone)
	}
	t.gone[name] = atMS
}

// reportRewound records whether an answer stated less than was known when its request was sent. If so,
// everything is requested again, because the same numbers may name other batches now.
func (t *Tracker) reportRewound(how string) {
	t.distrust = t.distrust || how != ""
	if how != "" && t.rewound == "" {
		t.note("%s: stale until an answer states what was known", how)
	} else if how == "" && t.rewound != "" {
		t.note("answers state again what was known before the store was rewound")
	}
	t.rewound = how
}

// checkStores follows the issuer to another store, and notices when two stores speak for it.
func (t *Tracker) checkStores(now Instant, a *Answer) {
	if t.rival != "" {
		if a.Store == t.rival {
			t.rival = ""
		} else if t.sentAt >= t.rivalAt {
			t.declareConflict(now, t.rival, a.Store)
			t.rival = ""
		}
	}
	if a.Store == t.store {
		return
	}
	if t.store != "" {
		if t.replaced[a.Store] {
			t.declareConflict(now, t.store, a.Store)
		}
		if len(t.replaced) >= maxReplaced {
			clear(t.replaced)
		}
		t.replaced[t.store] = true
		t.note("the issuer's store changed from %s to %s", t.store, a.Store)
	}
	strange := func(s string) bool { return s != "" && s != a.Store }
	if t.store != "" || strange(t.tokenStore) || strange(t.feedStore) {
		t.eff.DropStore = true
		t.clearBuffer()
		t.tokenStore, t.feedStore, t.tokenETag = "", "", ""
		t.token.scheduleBy(now.Mono)
		t.feed.scheduleBy(now.Mono)
	}
	t.store = a.Store
	clear(t.origins)
	clear(t.heard)
	t.forgetProofs()
	t.floor = timeFloor{}
	t.rewound = ""
}

func (t *Tracker) declareConflict(now Instant, one, other string) {
	if !t.conflict {
		t.note("two stores speak for this issuer, %s and %s: stale until %s after the last sign of it", one, other, t.cfg.MaxStaleness)
	}
	t.conflict = true
	t.conflictUntil = now.Mono + t.cfg.MaxStaleness
}
