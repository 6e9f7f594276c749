package throttle

import (
	"net/netip"
	"slices"
	"time"
)

// maxPlaces is how many places one account is known at: who owns an account cannot push out
// those of others by signing in from ever more addresses.
const maxPlaces = 8

// places are where an account signed in of late, the latest last.
type places struct{ list []place }

// place is an address, or a /64, and the failures of those who try the account from there.
type place struct {
	from     netip.Prefix
	signedIn time.Time // latest
	failures failures
}

// place gives the account's known place of that address, or nil; it is good until the next
// change of the account's places.
func (t *Throttle) place(key accountKey, from netip.Prefix, now time.Time) *place {
	known, ok := t.known.Get(key)
	if !ok {
		return nil
	}
	i := known.index(from)
	if i < 0 || now.Sub(known.list[i].signedIn) >= t.cfg.Account.Known {
		return nil
	}
	return &known.list[i]
}

// know makes from a known place without failures. What is no address is none.
func (t *Throttle) know(key accountKey, from netip.Prefix, now time.Time) {
	if !from.IsValid() {
		return
	}
	known, ok := t.known.Get(key)
	if !ok {
		known = new(places)
		t.known.Add(key, known)
	}
	if i := known.index(from); i >= 0 {
		known.list = slices.Delete(known.list, i, i+1)
	} else if len(known.list) == maxPlaces {
		known.list = slices.Delete(known.list, 0, 1)
	}
	known.list = append(known.list, place{from: from, signedIn: now})
}

func (p *places) index(from netip.Prefix) int {
	return slices.IndexFunc(p.list, func(one place) bool { return one.from == from })
}
