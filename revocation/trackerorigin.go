package revocation

import "time"

const maxAhead = 4096 // maximum number of sequence numbers remembered after a hole

// origin is what a [Tracker] knows of the batches of one origin: one that the last answer listed, or one
// that a heartbeat named since.
type origin struct {
	applied    uint64              // everything up to here is applied
	ahead      map[uint64]struct{} // batches applied after a hole
	head       uint64              // the highest sequence number known
	incomplete bool                // a message was not understood in full
	ack        uint64              // when all up to here is applied, a receipt is sent at once; zero means none

	hole      bool
	holeSince time.Duration

	listed  bool   // by the last answer
	since   uint64 // id of the last catch-up that was sent before a heartbeat named it
	asked   uint64 // head when the catch-up in flight was sent
	rewound bool   // the last answer stated less than asked, or lacked the origin although it has batches
	until   int64  // the latest expires_at (Unix s) of the events of batches that were heard
}

// add records an applied batch. Beyond maxAhead it records nothing: the hole stays, and a catch-up fills
// it.
func (o *origin) add(seq uint64) {
	o.head = max(o.head, seq)
	switch {
	case seq <= o.applied:
	case seq == o.applied+1:
		o.coverTo(seq)
	case len(o.ahead) < maxAhead:
		if o.ahead == nil {
			o.ahead = make(map[uint64]struct{})
		}
		o.ahead[seq] = struct{}{}
	}
}

// has reports whether the batch was applied.
func (o *origin) has(seq uint64) bool {
	_, ahead := o.ahead[seq]
	return ahead || seq <= o.applied
}

// coverTo records that everything up to seq is applied.
func (o *origin) coverTo(seq uint64) {
	o.head = max(o.head, seq)
	if seq <= o.applied {
		return
	}
	if seq-o.applied > 1 {
		for s := range o.ahead {
			if s <= seq {
				delete(o.ahead, s)
			}
		}
	}
	for o.applied = seq; ; o.applied++ {
		if _, ok := o.ahead[o.applied+1]; !ok {
			return
		}
		delete(o.ahead, o.applied+1)
	}
}

// receiptDue reports whether a requested receipt is due.
func (o *origin) receiptDue() bool {
	if o.ack == 0 || o.ack > o.applied {
		return false
	}
	o.ack = 0
	return true
}

// overdue opens or closes the hole and reports whether it was open for too long. A rewound origin has no
// holes, because an answer cannot fill them.
func (o *origin) overdue(now time.Duration) bool {
	open := (o.incomplete || o.head > o.applied) && !o.rewound
	if open && !o.hole {
		o.holeSince = now
	}
	o.hole = open
	return open && now-o.holeSince >= holePatience
}
