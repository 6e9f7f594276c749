package validator

import "errors"

// Stats are counters since the start and the state now. Tokens that were accepted from
// memory are not counted: counting would cost more than accepting them.
type Stats struct {
	// Verified counts the signatures that were checked.
	Verified uint64
	// Expired, Revoked, Invalid and Stale count refusals.
	Expired, Revoked, Invalid, Stale uint64
	// Cached is the number of tokens in memory.
	Cached int
	// Fresh says that a good token would be accepted now.
	Fresh bool
	// Version moves with every change of keys and revocations.
	Version uint64
}

// Stats returns the counters, each correct by itself.
func (v *Validator) Stats() Stats {
	r := v.backend.read()
	return Stats{
		Verified: v.verified.Load(),
		Expired:  v.expired.Load(),
		Revoked:  v.revoked.Load(),
		Invalid:  v.invalid.Load(),
		Stale:    v.stale.Load(),
		Cached:   int(v.cache.count.Load()),
		Fresh:    r.fresh,
		Version:  r.version,
	}
}

func (v *Validator) countRefusal(err error) {
	switch {
	case errors.Is(err, ErrExpired):
		v.expired.Add(1)
	case errors.Is(err, ErrRevoked):
		v.revoked.Add(1)
	case errors.Is(err, ErrStale):
		v.stale.Add(1)
	case errors.Is(err, ErrInvalid):
		v.invalid.Add(1)
	}
}
