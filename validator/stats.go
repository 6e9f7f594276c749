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
	// Fresh says that revocations are known to be current: no older than
	// Config.MaxStaleness. AgeMS is how old what is known is, in milliseconds.
	Fresh bool
	AgeMS int64
	// Introspections counts the requests to the broker about single tokens.
	Introspections uint64
	// Denylist is the number of revocations in memory, Evictions how many made room for
	// others. Until the broker's clock is past IncompleteUntil (Unix seconds, 0: nothing
	// was evicted) each token that is not listed is confirmed by introspection.
	Denylist        int
	Evictions       uint64
	IncompleteUntil int64
	// Feed counts what came of the revocation feed and what was fetched.
	Feed FeedStats
	// Version moves with every change of keys and revocations.
	Version uint64
}

// Stats returns the counters, each correct by itself.
func (v *Validator) Stats() Stats {
	r := v.backend.read(0)
	denylist := v.backend.denylist()
	var asked uint64
	if v.introspector != nil {
		asked = v.introspector.asked.Load()
	}
	return Stats{
		Verified: v.verified.Load(),
		Expired:  v.expired.Load(),
		Revoked:  v.revoked.Load(),
		Invalid:  v.invalid.Load(),
		Stale:    v.stale.Load(),
		Cached:   int(v.cache.count.Load()),
		Fresh:    r.fresh,
		AgeMS:    v.backend.age().Milliseconds(),

		Introspections:  asked,
		Denylist:        denylist.Len(),
		Evictions:       denylist.Evictions(),
		IncompleteUntil: denylist.IncompleteUntil(),

		Feed:    v.feed.stats(),
		Version: r.version,
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
