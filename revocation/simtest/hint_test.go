package simtest_test

import (
	"context"
	"strings"
	"testing/synctest"
)

// follower is a channel of hints.
type follower struct {
	ctx    context.Context //nolint:containedctx // the follower's lifetime
	n      *node
	prefix string
	hints  chan struct{}
}

// hint sends hints about changed keys to those that follow them: late, twice or not at all.
func (c *cluster) hint(keys []string) {
	kept := c.followers[:0]
	for _, f := range c.followers {
		if f.ctx.Err() != nil {
			continue
		}
		kept = append(kept, f)
		for _, key := range keys {
			if strings.HasPrefix(key, f.prefix) {
				f.send()
				break
			}
		}
	}
	c.followers = kept
}

func (f follower) send() {
	w := f.n.w
	if w.chance(f.n.hintLoss) {
		return
	}
	for range 1 + w.rng.IntN(10)/9 {
		w.after(w.between(0, f.n.hintDelay), func() {
			f.n.do(func() {
				select {
				case f.hints <- struct{}{}:
				default:
				}
				synctest.Wait()
			})
		})
	}
}
