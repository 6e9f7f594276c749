package keyring

import (
	"context"
	"fmt"
	"time"
)

// lifeKnown is when every service has read a longer life, however short the JWK sets are
// cached: it stands in the discovery document, which is cached, and read anew, for up to 5
// minutes, and no ETag tells of it.
const lifeKnown = 5*time.Minute + 30*time.Second

// lifeWish is what TokenLife was last asked for, and since when on the monotonic clock.
type lifeWish struct {
	want  time.Duration
	since time.Duration
}

// TokenLife says what life of access tokens to publish and what life to sign when want is
// the configured one. A longer life is published at once and signed one JWKS cache life
// later, and not within 5 minutes, when every service knows of it; a shorter one is signed at
// once and published when the longer tokens are dead. next is when to ask again, zero for when want changes. What is
// published is remembered in the record; brokers of one store want the same.
//
// want is whole seconds above nought. On an error nothing was changed.
func (k *Keyring) TokenLife(ctx context.Context, want time.Duration) (publish, sign time.Duration, next time.Time, err error) {
	if want < time.Second || want%time.Second != 0 {
		return 0, 0, time.Time{}, fmt.Errorf("keyring: a token life of %s: at least a second, and whole seconds", want)
	}
	k.mu.Lock()
	if k.life.want != want {
		k.life = lifeWish{want: want, since: k.cfg.Mono()}
	}
	wanted := k.cfg.Mono() - k.life.since
	k.mu.Unlock()
	p, err := k.change(ctx, func(p *plan) error {
		next = p.liveUp(want, wanted)
		return nil
	})
	if err != nil {
		return 0, 0, time.Time{}, fmt.Errorf("settling the life of access tokens: %w", err)
	}
	life := p.rec.TokenLife
	return seconds(life.Published), min(want, seconds(life.Signed)), next, nil
}

// liveUp moves the record's token life towards want, which has been wanted for that long,
// and returns when to go on, zero if it has arrived.
func (p *plan) liveUp(want, wanted time.Duration) time.Time {
	life, n := &p.rec.TokenLife, int64(want/time.Second)
	published := seconds(life.Published)
	switch {
	case life.Published == 0:
		p.setLife(lifeRecord{Published: n, Signed: n})
	case want > published:
		p.setLife(lifeRecord{Published: n, Signed: life.Signed})
		return p.now.Add(p.lifeLead())
	case want < published:
		wait := published + clockLeeway + p.limits.margin - wanted
		if wait > 0 {
			return p.now.Add(wait)
		}
		p.setLife(lifeRecord{Published: n, Signed: n})
	case life.Signed < life.Published:
		wait := p.lifeLead() - p.ran(life.mark())
		if wait > 0 {
			return p.now.Add(wait)
		}
		p.setLife(lifeRecord{Published: n, Signed: n})
	}
	return time.Time{}
}

// lifeLead is how long a longer life is published before it is signed.
func (p *plan) lifeLead() time.Duration { return max(lifeKnown, p.cacheLife()+p.limits.margin) }

func (p *plan) setLife(life lifeRecord) { p.rec.TokenLife, p.changed = life, true }
