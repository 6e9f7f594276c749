package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"tokenbroker/broker"
)

// metadata is what discovery gave.
type metadata struct {
	read       time.Time
	oauth      oauth2.Config
	keys       *keySet
	endSession string
	answersIss bool // RFC 9207 §3
}

// outcome is how a request to the provider ended.
type outcome struct {
	at time.Time
	ok bool
}

// Ready reports whether the provider answers: by how the last request to any of its
// endpoints ended if that was within outcomeLife, and otherwise by reading its discovery
// document now, for at most a second.
func (p *Provider) Ready(ctx context.Context) bool {
	last := p.outcome.Load()
	if p.meta.Load() != nil && last != nil && p.cfg.Now().Sub(last.at) < outcomeLife {
		return last.ok
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	select {
	case a := <-p.attempt(ctx, outcomeLife):
		return a.Err == nil
	case <-ctx.Done(): // nothing new is known yet
		return p.meta.Load() != nil && last != nil && last.ok
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
	return meta.keys.report(), nil
}

// KeyReport tells how many of a provider's keys can be used, and which cannot, with the reasons.
type KeyReport struct {
	Usable int
	Unfit  string
}

// KeyFetches is how often the provider's keys were asked for.
func (p *Provider) KeyFetches() int64 { return p.fetches.Load() }

// discover returns what the discovery document tells. It is read at the first use, for
// which all wait, none longer than its own context; later it is read again once it is older
// than maxMetaAge, for which nobody waits.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	if meta := p.meta.Load(); meta != nil {
		if p.cfg.Now().Sub(meta.read) > maxMetaAge {
			p.attempt(ctx, maxMetaAge)
		}
		return meta, nil
	}
	select {
	case a := <-p.attempt(ctx, maxMetaAge):
		return p.meta.Load(), a.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: discovery: %w", broker.ErrUpstreamUnavailable, ctx.Err())
	}
}

// attempt reads the discovery document unless that was done within maxAge, or failed just
// now. It serves all who wait: one that gives up does not end it. What was read before
// stays when it fails.
func (p *Provider) attempt(ctx context.Context, maxAge time.Duration) <-chan singleflight.Result {
	return p.flight.DoChan("discovery", func() (any, error) {
		old, pause := p.meta.Load(), rediscover
		if old != nil {
			pause = refetchEvery
		}
		switch now := p.cfg.Now(); {
		case p.lastError != nil && now.Sub(p.failedAt) < pause:
			return nil, p.lastError
		case old != nil && now.Sub(old.read) < maxAge:
			return nil, nil
		}
		meta, err := p.fetchMetadata(context.WithoutCancel(ctx), old)
		p.reached(err)
		if err != nil {
			p.cfg.Logger.WarnContext(ctx, "the provider could not be discovered", "error", err)
			p.failedAt, p.lastError = p.cfg.Now(), fmt.Errorf("%w: discovery: %w", broker.ErrUpstreamUnavailable, err)
			return nil, p.lastError
		}
		p.lastError = nil
		p.meta.Store(meta)
		return nil, nil
	})
}

// fetchMetadata reads the discovery document; the keys of an old one are kept while they
// are in the same place.
func (p *Provider) fetchMetadata(ctx context.Context, old *metadata) (*metadata, error) {
	ctx, succeeded := p.out.observed(ctx)
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.out.discovery), p.cfg.Issuer)
	if err != nil { // the text may hold the whole answer
		return nil, errors.New(shortened(err.Error()))
	}
	succeeded()
	var more struct {
		JWKSURI     string   `json:"jwks_uri"`
		EndSession  string   `json:"end_session_endpoint"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		Algorithms  []string `json:"id_token_signing_alg_values_supported"`
		AnswersIss  bool     `json:"authorization_response_iss_parameter_supported"`
	}
	endpoint := found.Endpoint()
	if err := found.Claims(&more); err != nil || more.JWKSURI == "" || endpoint.AuthURL == "" || endpoint.TokenURL == "" {
		return nil, errors.New("the document names no keys or no endpoints")
	}
	// The broker uses no other member that is a URL.
	for _, member := range []struct{ name, url string }{
		{"authorization_endpoint", endpoint.AuthURL}, {"token_endpoint", endpoint.TokenURL}, {"jwks_uri", more.JWKSURI},
		{"end_session_endpoint", more.EndSession},
	} {
		if member.url == "" {
			continue
		}
		if err := p.out.checkEndpoint(member.url); err != nil {
			return nil, fmt.Errorf("the document's %s: %w", member.name, err)
		}
	}
	// Chosen here: the library would find out by sending a refused code twice.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	basic := len(more.AuthMethods) == 0 || slices.Contains(more.AuthMethods, "client_secret_basic")
	if p.cfg.ClientSecret == "" || !basic {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	keys := &keySet{
		url: more.JWKSURI, allowed: p.cfg.algorithms(more.Algorithms), client: p.out.endpoints, now: p.cfg.Now, logger: p.cfg.Logger, fetches: &p.fetches, reached: p.reached,
	}
	if old != nil && old.keys.url == keys.url && slices.Equal(old.keys.allowed, keys.allowed) {
		keys = old.keys
	}
	return &metadata{
		read: p.cfg.Now(),
		oauth: oauth2.Config{
			ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: endpoint, Scopes: p.cfg.Scopes,
		},
		keys: keys, endSession: more.EndSession, answersIss: more.AnswersIss,
	}, nil
}

func shortened(text string) string {
	if len(text) > 200 {
		return strings.ToValidUTF8(text[:200], "") + "..."
	}
	return text
}
