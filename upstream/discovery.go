package upstream

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/broker"
)

// outcome is how a request to the provider ended.
type outcome struct {
	at time.Time
	ok bool
}

// current returns the issuer whose endpoints are used: the first one that was discovered.
func (p *Provider) current() *source {
	for _, s := range p.sources {
		if s.meta.Load() != nil {
			return s
		}
	}
	return p.sources[0]
}

// sourceOf returns the issuer that iss names, nil if it is not one of the provider's.
func (p *Provider) sourceOf(iss string) *source {
	for _, s := range p.sources {
		if s.issues(iss) {
			return s
		}
	}
	return nil
}

// discover returns what the discovery document of the current issuer tells. Until one was
// read, the issuers are asked one after the other.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	if s := p.current(); s.meta.Load() != nil {
		return s.discover(ctx)
	}
	var failed error
	for _, s := range p.sources {
		meta, err := s.discover(ctx)
		switch {
		case err == nil:
			return meta, nil
		case failed == nil:
			failed = err
		case ctx.Err() == nil:
			failed = fmt.Errorf("%w; at %s: %w", failed, s.issuer, err)
		}
	}
	return nil, failed
}

// Ready reports whether the provider answers: by how the last request to any of its
// endpoints ended if that was within outcomeLife, and otherwise by reading its discovery
// document now, for at most a second.
func (p *Provider) Ready(ctx context.Context) bool {
	last := p.outcome.Load()
	s := p.current()
	if s.meta.Load() != nil && last != nil && p.cfg.Now().Sub(last.at) < outcomeLife {
		return last.ok
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s.meta.Load() == nil {
		_, err := p.discover(ctx)
		return err == nil
	}
	select {
	case a := <-s.attempt(ctx, outcomeLife):
		return a.Err == nil
	case <-ctx.Done(): // nothing new is known yet
		return last != nil && last.ok
	}
}

// reached notes how a request to the provider ended.
func (p *Provider) reached(err error) {
	p.outcome.Store(&outcome{at: p.cfg.Now(), ok: err == nil})
}

// Check asks the provider for what a sign-in needs, its discovery document and its keys, and
// describes those keys that cannot be used. The error names what is wrong and what to do.
func (p *Provider) Check(ctx context.Context) (KeyReport, error) {
	meta, err := p.discover(ctx)
	if err != nil {
		return KeyReport{}, err
	}
	if err := meta.keys.refetch(ctx); err != nil {
		return KeyReport{}, fmt.Errorf("%w: %w", broker.ErrUpstreamUnavailable, err)
	}
	report := meta.keys.report()
	report.Issuer = meta.source.issuer
	return report, nil
}

// KeyReport tells how many keys of the issuer that the provider uses can be used, and which
// cannot, with the reasons.
type KeyReport struct {
	Issuer string
	Usable int
	Unfit  string
}

// KeyFetches is how often the provider's keys were asked for.
func (p *Provider) KeyFetches() int64 { return p.fetches.Load() }
