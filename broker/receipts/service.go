package receipts

import (
	"maps"
	"time"

	"tokenbroker/revocation"
)

// name identifies a service: its own name, and the source, which it cannot choose.
type name struct{ source, service string }

// service is the latest receipt of a service.
type service struct {
	// applied is how far the service has applied the batches of each origin. It has at most as many origins as a receipt, and
	// the broker's own.
	applied map[string]progress
	fresh   bool
	age     time.Duration
	heard   time.Duration
	speaks  int
	speaker string
	known   bool
	waits   map[*Wait]struct{} // those that wait for it
}

// progress is the batch of an origin up to which a service has applied all batches, and when it reported that first.
type progress struct {
	seq uint64
	at  time.Duration
}

// report records what a receipt states. Receipts may overtake each other.
func (s *service) report(applied map[string]uint64, own string, now time.Duration) {
	for origin, seq := range applied {
		if seq > s.applied[origin].seq {
			s.applied[origin] = progress{seq, now}
		}
	}
	if len(s.applied) > revocation.MaxReceiptOrigins {
		maps.DeleteFunc(s.applied, func(origin string, _ progress) bool {
			_, named := applied[origin]
			return !named && origin != own
		})
	}
}

// has reports whether the service has applied the batches up to heads.
func (s *service) has(heads map[string]uint64) bool {
	for origin, seq := range heads {
		if s.applied[origin].seq < seq {
			return false
		}
	}
	return true
}
