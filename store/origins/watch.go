package origins

import (
	"time"

	"tokenbroker/store"
)

const (
	// beatEvery is how long the record of a running broker is unchanged at most.
	beatEvery = 5 * time.Second
	// An origin is ended when reads found its record unchanged for maxSilence by the monotonic clock of another broker. Of
	// the time between two reads at most maxGap counts: an outage of the engine must not make brokers end each
	// other.
	maxSilence = 30 * time.Second
	maxGap     = 2 * time.Second
	// keepEnded is how long the record of an ended origin is kept at least if it has batches.
	keepEnded = time.Hour
)

// watch has the origins whose silence is measured, by id.
type watch map[string]*silence

// silence is how long the record of an origin has been unchanged.
type silence struct {
	revision store.Revision
	since    time.Duration // monotonic clock of the read that first found the revision
	last     time.Duration // of the last read
	lasted   time.Duration // the time between the reads that counts
	looked   time.Duration // for batches of an ended origin, the last time
}

// see records what a read at the monotonic time now found. It reports whether the record has changed since the
// read before.
func (w watch) see(now time.Duration, o Origin) (s *silence, moved bool) {
	s, known := w[o.ID]
	switch {
	case !known || s.revision != o.Revision:
		s = &silence{revision: o.Revision, since: now, last: now}
		w[o.ID] = s
		return s, known
	case now > s.last: // callers that share a view may be late
		s.lasted += min(now-s.last, maxGap)
		s.last = now
	}
	return s, false
}

// forget forgets the origins that v does not have.
func (w watch) forget(v *View) {
	for id := range w {
		if _, ok := v.find(id); !ok {
			delete(w, id)
		}
	}
}
