package validator

import (
	"errors"
	"sync/atomic"

	"tokenbroker/revocation"
)

// Stats are counters since the start, and the current state. Tokens that were accepted from
// memory are not counted, because counting would cost more than accepting them.
type Stats struct {
	// Verified counts the signatures that were checked.
	Verified uint64
	// Expired, Revoked, Invalid and Stale count refusals.
	Expired, Revoked, Invalid, Stale uint64
	// Cached is the number of tokens in memory.
	Cached int
	// Fresh says that revocations are known to be current: no older than
	// Config.MaxStaleness. AgeMS is the age of that knowledge in milliseconds.
	Fresh bool
	AgeMS int64
	// Introspections counts the requests to the broker about single tokens.
	Introspections uint64
	// Denylist is the number of revocations in memory, Evictions the number of those that made
	// room for others. Until the broker's clock is past IncompleteUntil (Unix seconds; 0 if
	// nothing was evicted), each token that is not listed is confirmed by introspection.
	Denylist        int
	Evictions       uint64
	IncompleteUntil int64
	// Feed counts messages of the revocation feed and requests to the broker.
	Feed FeedStats
	// Version changes with every change of keys and revocations.
	Version uint64
}

// Stats returns the counters. Each is read separately.
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

// FeedStats count, since the start, messages of the revocation feed and requests to the
// broker. All are zero for [NewInProcess], which has no feed.
type FeedStats struct {
	// Messages counts the messages that arrived.
	Messages uint64
	// The following fields count messages that changed nothing. Malformed messages are not of
	// this protocol, damaged, truncated, unsigned or out of bounds. Forged ones are not signed
	// by the key that they name. UnknownKey ones are signed by a key that the broker does not
	// publish for revocations, and were dropped after the keys were fetched. Replayed ones
	// contain nothing new. Ignored ones are of a broker process or a store that no catch-up
	// answer lists.
	Malformed, Forged, UnknownKey, Replayed, Ignored uint64
	// Reason says why revocations are not known to be current although the brokers answer: the store was
	// rewound, or two stores speak for the issuer. It is empty otherwise.
	Reason string
	// Copies counts the brokers that were found running on copies of the issuer's store: a
	// revocation at one of them does not reach the services of the others.
	Copies uint64
	// Overflowed counts messages that arrived faster than they could be processed. A catch-up
	// replaces them.
	Overflowed uint64
	// Gaps counts how often messages may have been lost: a reconnect, a slow consumer.
	Gaps uint64
	// CatchUps, TokenKeyFetches and FeedKeyFetches count requests to the broker, FailedCatchUps
	// those without a usable answer.
	CatchUps, FailedCatchUps, TokenKeyFetches, FeedKeyFetches uint64
	// Receipts counts the receipts that were sent, FailedReceipts those that could not be. Both
	// stay 0 if the feed cannot send receipts.
	Receipts, FailedReceipts uint64
}

// feedCounts are incremented by a syncer and read by any goroutine. A nil feedCounts returns zeros.
type feedCounts struct {
	messages, malformed, forged, overflowed, gaps      atomic.Uint64
	unknownKey, replayed, ignored, copies              atomic.Uint64 // the tracker's
	catchUps, failedCatchUps, tokenFetches, keyFetches atomic.Uint64
	receipts, failedReceipts                           atomic.Uint64
	reason                                             atomic.Pointer[string] // nil before the first answer
}

func (c *feedCounts) refused(err error) {
	if errors.Is(err, revocation.ErrSignature) {
		c.forged.Add(1)
	} else {
		c.malformed.Add(1)
	}
}

func (c *feedCounts) track(s revocation.State) {
	c.unknownKey.Store(s.Dropped)
	c.replayed.Store(s.Replayed)
	c.ignored.Store(s.Ignored)
	c.copies.Store(s.Copies)
	if last := c.reason.Load(); last == nil || *last != s.Reason {
		c.reason.Store(&s.Reason)
	}
}

func (c *feedCounts) stats() FeedStats {
	if c == nil {
		return FeedStats{}
	}
	reason := ""
	if last := c.reason.Load(); last != nil {
		reason = *last
	}
	return FeedStats{
		Reason:          reason,
		Messages:        c.messages.Load(),
		Malformed:       c.malformed.Load(),
		Forged:          c.forged.Load(),
		UnknownKey:      c.unknownKey.Load(),
		Replayed:        c.replayed.Load(),
		Ignored:         c.ignored.Load(),
		Copies:          c.copies.Load(),
		Overflowed:      c.overflowed.Load(),
		Gaps:            c.gaps.Load(),
		CatchUps:        c.catchUps.Load(),
		FailedCatchUps:  c.failedCatchUps.Load(),
		TokenKeyFetches: c.tokenFetches.Load(),
		FeedKeyFetches:  c.keyFetches.Load(),
		Receipts:        c.receipts.Load(),
		FailedReceipts:  c.failedReceipts.Load(),
	}
}
