package validator

import (
	"sync"
	"time"
)

const (
	breakerFailures = 5               // in a row: the broker is taken for down
	breakerPause    = 2 * time.Second // until somebody tries again
)

// breaker keeps requests away from a broker that does not answer. It opens after
// breakerFailures in a row; after breakerPause it lets one request through, whose end
// closes it or keeps it open for another pause. It has no clock: callers say when it is.
type breaker struct {
	mu       sync.Mutex
	failures int           // guarded by mu, as all below
	until    time.Duration // open until then
	probing  bool
}

// allow reports whether a request may be made now. Whoever is allowed tells done its end.
func (b *breaker) allow(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failures < breakerFailures:
		return true
	case now < b.until || b.probing:
		return false
	}
	b.probing = true
	return true
}

// done takes the end of a request that was allowed.
func (b *breaker) done(now time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if ok {
		b.failures = 0
		return
	}
	b.failures = min(b.failures+1, breakerFailures)
	if b.failures == breakerFailures {
		b.until = now + breakerPause
	}
}
