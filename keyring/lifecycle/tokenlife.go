package lifecycle

import "time"

// discoveryKnown is how long a longer token life has to be published until every service has read
// it, however short the JWK sets are cached. The life is in the discovery document, which is
// cached for up to 5 minutes and has no ETag that changes with it.
const discoveryKnown = 5*time.Minute + 30*time.Second

// SetTokenLife moves the token life towards want, which has been configured for wantedFor. A
// longer life is published at once and signed when every service has read it; a shorter one is
// signed at once and published when all longer tokens have expired. SetTokenLife returns when to
// call it again, zero if the published life is want.
func (p *Plan) SetTokenLife(want, wantedFor time.Duration) (next time.Time) {
	life, n := p.Set.TokenLife, int64(want/time.Second)
	published := seconds(life.Published)
	var wait time.Duration
	switch {
	case life.Published == 0:
		life = TokenLife{Published: n, Signed: n}
	case want > published:
		life.Published = n
		wait = p.tokenLifeLead()
	case want < published:
		if wait = published + clockLeeway + p.Policy.Margin - wantedFor; wait <= 0 {
			life = TokenLife{Published: n, Signed: n}
		}
	case life.Signed < life.Published:
		if wait = p.tokenLifeLead() - p.observedFor(life.fact()); wait <= 0 {
			life.Signed = n
		}
	}
	if life != p.Set.TokenLife {
		p.Set.TokenLife, p.changed = life, true
	}
	if wait <= 0 {
		return time.Time{}
	}
	return p.Now.Add(wait)
}

// tokenLifeLead returns how long a longer life is published before it is signed.
func (p *Plan) tokenLifeLead() time.Duration {
	return max(discoveryKnown, p.cacheLife()+p.Policy.Margin)
}

// longestTokenLife returns the longest life that an access token may have been given.
func (p *Plan) longestTokenLife() time.Duration {
	return max(p.Policy.TokenLife, seconds(p.Set.TokenLife.Published))
}

// cacheLife returns how long a service may use a JWK set, including one that was served under
// another configuration.
func (p *Plan) cacheLife() time.Duration {
	return max(p.Policy.CacheLife, seconds(p.Set.CacheLife))
}

// rememberCacheLife stores the longest cache life under which a JWK set may still be cached.
func (p *Plan) rememberCacheLife() {
	want := int64(p.Policy.CacheLife / time.Second)
	if want > p.Set.CacheLife || want < p.Set.CacheLife && p.observedFor(p.Set.cacheLifeFact()) >= p.cacheLife() {
		p.Set.CacheLife, p.changed = want, true
	}
}
