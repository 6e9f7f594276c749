package validator

import "time"

// Option asks more of one call of [Validator.Validate] than the Config does.
type Option struct {
	maxStaleness time.Duration // 0: nothing asked
}

// MaxStaleness bounds how old the knowledge of revocations may be for this call, where d is
// less than Config.MaxStaleness; it never makes it more. The machine's clocks are compared
// for it each time, so that it holds right after a suspension, too.
//
// A call with a bound of its own that is not met is never served stale: under [Introspect]
// the broker is asked about the token, under every other Policy the call fails with
// [ErrStale]. News comes once a second: a bound below two seconds is often not met.
func MaxStaleness(d time.Duration) Option { return Option{maxStaleness: max(d, 1)} }

// strictest is the least bound that the options ask for, 0 when none does.
func strictest(options []Option) time.Duration {
	var bound time.Duration
	for _, o := range options {
		if o.maxStaleness > 0 && (bound == 0 || o.maxStaleness < bound) {
			bound = o.maxStaleness
		}
	}
	return bound
}
