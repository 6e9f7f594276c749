package keyring

import (
	"errors"
	"fmt"
	"time"
)

// ErrOutdated is in the chain of every error about a keyring on a store that other brokers share
// ([Config.Shared]) whose record was last read too long ago. Callers answer 503: the next read, or
// another broker, can serve the request.
var ErrOutdated = errors.New("keyring: the record was last read too long ago")

// Outdated returns an error that wraps [ErrOutdated] if the last successful read of the record began
// longer ago than two thirds of the margin, on the monotonic clock. Without [Config.Shared] it
// always returns nil.
//
// An outdated keyring signs nothing and returns no JWK set. It still verifies and derives keys, but
// may lack keys that other brokers use: a caller that would refuse a token because its key or MAC is unknown
// calls Outdated first, and answers 503 if it returns an error. The order matters: what Outdated has
// allowed is decided by keys that were read recently enough, because a read is in use before it counts.
func (k *Keyring) Outdated() error {
	if !k.cfg.Shared {
		return nil
	}
	began := time.Duration(k.readBegan.Load())
	if age := k.cfg.Mono() - began; age > k.cfg.maxAge() {
		return fmt.Errorf("%w: that read began %s ago, and %s is the limit", ErrOutdated, age.Round(time.Millisecond), k.cfg.maxAge())
	}
	return nil
}

// latest returns the snapshot in use, unless the keyring is outdated.
func (k *Keyring) latest() (*snapshot, error) {
	if err := k.Outdated(); err != nil {
		return nil, err
	}
	return k.current.Load(), nil
}

// maxAge is how old a read may be on a shared store. The rest of the margin is for signatures and JWK
// sets that are on their way: a margin after a change, no service receives what was made without it.
func (c *Config) maxAge() time.Duration { return 2 * c.pollEvery() }

// pollEvery is the longest time between two reads of the record by [Keyring.Run].
func (c *Config) pollEvery() time.Duration { return c.margin() / 3 }
