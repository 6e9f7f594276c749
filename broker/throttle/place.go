package throttle

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxPlaces is how many addresses one account can keep known.
	maxPlaces = 8
	// placeStays is how long the latest sign-in from a place keeps others from taking its
	// turn. Otherwise one good account would make ever more addresses known, each with
	// allowances of its own.
	placeStays = 24 * time.Hour
)

// places are the addresses that an account made known, the one of the latest sign-in last.
type places []place

// place is an address, or a /64.
type place struct {
	from     netip.Prefix
	signedIn time.Time // latest
}

// sighting is what is remembered of a known address.
type sighting struct {
	accounts int       // that have it among their places
	latest   time.Time // sign-in of any of them
}

// isKnown tells whether from is a known address. Which accounts made it known has no
// influence, so that no answer depends on whether the account that is tried exists.
func (t *Throttle) isKnown(from netip.Prefix, now time.Time) bool {
	seen, ok := t.sightings[from]
	return ok && now.Sub(seen.latest) < t.cfg.Account.Known
}

// know makes from a known address by a sign-in to the account, if the account has a place
// left. What is not an address never is known.
func (t *Throttle) know(key accountKey, from netip.Prefix, now time.Time) {
	if !from.IsValid() {
		return
	}
	known, _ := t.known.Get(key)
	seen := t.sightings[from]
	switch i := slices.IndexFunc(known, func(p place) bool { return p.from == from }); {
	case i >= 0:
		known = slices.Delete(known, i, i+1)
	case len(known) < maxPlaces:
		seen.accounts++
	case now.Sub(known[0].signedIn) < placeStays:
		return
	default:
		seen.accounts++
		t.leave(known[0].from)
		known = slices.Delete(known, 0, 1)
	}
	seen.latest = now
	t.sightings[from] = seen
	t.known.Add(key, append(known, place{from, now}))
}

// leave says that one account less has from among its places.
func (t *Throttle) leave(from netip.Prefix) {
	seen := t.sightings[from]
	if seen.accounts--; seen.accounts < 1 {
		delete(t.sightings, from)
		return
	}
	t.sightings[from] = seen
}
