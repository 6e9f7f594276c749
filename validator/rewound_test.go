package validator

import (
	"strings"
	"testing"
	"time"
)

// TestARewoundStoreMakesTheServiceStaleWithItsReason: an answer that states less than was known before its request
// proves that acknowledged revocations were undone. The log reports it once, and the counters as long as it lasts.
func TestARewoundStoreMakesTheServiceStaleWithItsReason(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		for _, sid := range []string{"one", "two", "three"} {
			l.revoke(sid)
		}
		time.Sleep(4 * time.Second)
		if got := s.counts.stats().Reason; !isFresh(s) || got != "" {
			t.Fatalf("before, fresh is %t and the reason %q", isFresh(s), got)
		}
		recorded := l.recorded
		l.set(func() { l.seq, l.recorded = 1, recorded[:1] })
		time.Sleep(20 * time.Second)
		const reason = "the store was rewound: origin o1 was at batch 3, and a later answer states 1"
		if got := s.counts.stats().Reason; isFresh(s) || got != reason {
			t.Errorf("fresh is %t and the reason %q", isFresh(s), got)
		}
		if err := s.staleBecause(s.now.Load(), monotonic()); err.Error() != reason {
			t.Errorf("stale because %v", err)
		}
		l.set(func() {
			for _, line := range []string{"revocations: the store was rewound", "revocations are not known to be current"} {
				if n := strings.Count(l.log.String(), line); n != 1 {
					t.Errorf("%q was logged %d times", line, n)
				}
			}
		})
		if !sid(s, "three") {
			t.Error("a revocation that the service had applied was undone")
		}
		l.set(func() { l.seq, l.recorded = 3, recorded })
		time.Sleep(20 * time.Second)
		if got := s.counts.stats().Reason; !isFresh(s) || got != "" {
			t.Errorf("after it, fresh is %t and the reason %q", isFresh(s), got)
		}
	})
}
