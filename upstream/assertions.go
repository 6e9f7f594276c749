package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"tokenbroker/broker"
)

// maxKeySources bounds the issuers and key sets whose keys are kept. Beyond it, those of the least recently used one are
// forgotten, and fetched again when an assertion needs them.
const maxKeySources = 1024

// The limits of key sets that clients named themselves. They are kept apart from the others, so that strangers cannot make the
// broker forget those.
const (
	maxUntrustedSources = 256
	maxUntrustedKeySet  = 64 << 10 // bytes
)

// AssertionsConfig configures [Assertions]. The zero value is valid.
type AssertionsConfig struct {
	// Timeout is the time-out of one request. If zero, it is 5 seconds.
	Timeout time.Duration
	// Transport and Instrument are those of [Config].
	Transport  http.RoundTripper
	Instrument func(http.RoundTripper) http.RoundTripper
	// Now is the clock. If nil, it is time.Now.
	Now func() time.Time
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// InsecureLoopback allows [broker.AssertionKeys] that are Untrusted to be on a loopback address, also by http. It MUST NOT be set
	// except for development. If false, they must have a public address.
	InsecureLoopback bool
}

// Assertions verifies the assertions of OAuth clients by the keys that a client's record names: a key set in the record, one at a
// URI, or that of an issuer, which is discovered. Keys are fetched, kept and limited like those of a [Provider]. It is safe for
// concurrent use. It starts a goroutine only for a fetch, which ends within the time-out of the request.
type Assertions struct {
	cfg     AssertionsConfig
	claimed *transport // for the key sets that clients named themselves

	mu                 sync.Mutex // guards the fields below
	sources, untrusted *simplelru.LRU[sourceID, *keySource]
}

var _ broker.Assertions = (*Assertions)(nil)

// sourceID names a source: the URI of a key set, or an issuer. The same URI is another source if a client named it itself: keys that
// were fetched by the rules for operators are not used then.
type sourceID struct {
	uri, issuer string
	untrusted   bool
}

// keySource is a key set at a URI, or an issuer.
type keySource struct {
	keys   *keySet   // nil for an issuer
	issuer *Provider // nil for a key set
	close  func()
}

// NewAssertions returns an Assertions. It does not fetch anything.
func NewAssertions(cfg AssertionsConfig) *Assertions {
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &Assertions{cfg: cfg, sources: newSources(maxKeySources), untrusted: newSources(maxUntrustedSources)}
	a.claimed = newClaimedTransport(a.config(""), cfg.InsecureLoopback, maxUntrustedKeySet)
	return a
}

func newSources(size int) *simplelru.LRU[sourceID, *keySource] {
	sources, err := simplelru.NewLRU(size, func(_ sourceID, s *keySource) { s.close() })
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return sources
}

// Close closes the idle connections.
func (a *Assertions) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sources.Purge()
	a.untrusted.Purge()
	a.claimed.close()
}

// Verify implements [broker.Assertions].
func (a *Assertions) Verify(ctx context.Context, assertion string, from broker.AssertionKeys) (broker.Assertion, error) {
	if err := checkCompact(assertion); err != nil {
		return broker.Assertion{}, fmt.Errorf("%w: %w", broker.ErrAssertion, err)
	}
	keys, err := a.keys(ctx, from)
	if err != nil {
		return broker.Assertion{}, err
	}
	payload, head, err := keys.verify(ctx, assertion)
	notAllowed := from.Untrusted && errors.As(err, new(*addressError)) // known only when the host was resolved
	if errors.Is(err, errSignature) || errors.Is(err, errUnknownKey) || notAllowed {
		return broker.Assertion{}, fmt.Errorf("%w: %w", broker.ErrAssertion, err)
	} else if err != nil {
		return broker.Assertion{}, fmt.Errorf("%w: %w", broker.ErrUpstreamUnavailable, err)
	}
	read, err := readAssertion(payload, head)
	if err != nil {
		return broker.Assertion{}, fmt.Errorf("%w: %w", broker.ErrAssertion, err)
	}
	return read, nil
}

func readAssertion(payload []byte, head jose.Header) (broker.Assertion, error) {
	c, err := readClaims(payload)
	if err != nil {
		return broker.Assertion{}, err
	}
	r, err := c.registered()
	if err != nil {
		return broker.Assertion{}, err
	}
	typ, ok := head.ExtraHeaders[jose.HeaderType].(string)
	if !ok && head.ExtraHeaders[jose.HeaderType] != nil {
		return broker.Assertion{}, errors.New("typ is not a string")
	}
	id, ok := c["jti"].(string)
	if !ok && c["jti"] != nil {
		return broker.Assertion{}, fmt.Errorf("%w: jti", errClaimType)
	}
	return broker.Assertion{
		Type: typ, Issuer: r.issuer, Subject: r.subject, Audience: r.audience, ID: id,
		IssuedAt: r.issued, NotBefore: r.notBefore, ExpiresAt: r.expires,
	}, nil
}

// keys returns the key set of an assertion. That of an issuer is known after its discovery.
func (a *Assertions) keys(ctx context.Context, from broker.AssertionKeys) (*keySet, error) {
	if len(from.JWKS) > 0 {
		keys, _, err := parseKeys(from.JWKS, knownAlgorithms)
		if err != nil {
			return nil, fmt.Errorf("reading the client's keys: %w", err)
		}
		return fixedKeys(keys, a.cfg), nil
	}
	source, err := a.source(from)
	if err != nil {
		return nil, err
	}
	if source.keys != nil {
		return source.keys, nil
	}
	meta, err := source.issuer.discover(ctx)
	if err != nil {
		return nil, err
	}
	return meta.keys, nil
}

// fixedKeys returns a key set that is never fetched.
func fixedKeys(keys []jose.JSONWebKey, cfg AssertionsConfig) *keySet {
	now := cfg.Now()
	k := &keySet{allowed: knownAlgorithms, keys: keys, fetched: now, tried: now, now: func() time.Time { return now }}
	return k
}

// source returns the source of a key set at a URI or of an issuer.
func (a *Assertions) source(from broker.AssertionKeys) (*keySource, error) {
	id, sources := sourceID{uri: from.JWKSURI, untrusted: from.Untrusted}, a.sources
	switch {
	case id.untrusted && id.uri == "":
		return nil, errors.New("keys that are not trusted are in the record or at a URI")
	case id.untrusted:
		sources = a.untrusted
	case id.uri == "":
		id.issuer = from.Issuer
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if source, found := sources.Get(id); found {
		return source, nil
	}
	source, err := a.newSource(id)
	if err != nil {
		return nil, err
	}
	sources.Add(id, source)
	return source, nil
}

func (a *Assertions) config(issuer string) *Config {
	return &Config{
		Name: "workload", Issuer: issuer, ClientID: "none", Timeout: a.cfg.Timeout, Transport: a.cfg.Transport, Instrument: a.cfg.Instrument,
		Now: a.cfg.Now, Logger: a.cfg.Logger, keysOnly: true,
	}
}

func (a *Assertions) newSource(id sourceID) (*keySource, error) {
	cfg := a.config(id.issuer)
	if id.uri == "" {
		issuer, err := New(*cfg)
		if err != nil {
			return nil, err
		}
		return &keySource{issuer: issuer, close: issuer.Close}, nil
	}
	keys := &keySet{
		url: id.uri, allowed: knownAlgorithms, now: cfg.Now, logger: cfg.Logger.With("jwks_uri", id.uri), untrusted: id.untrusted,
		fetches: new(atomic.Int64), onFetch: func(error) {},
	}
	if id.untrusted {
		if _, err := a.claimed.checkClaimed(id.uri); err != nil {
			return nil, fmt.Errorf("%w: jwks_uri: %w", broker.ErrAssertion, err) // trying again would not help
		}
		keys.client = a.claimed.endpoints
		return &keySource{keys: keys, close: func() {}}, nil
	}
	t, err := newKeysTransport(cfg, id.uri)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamUnavailable, err)
	}
	keys.client = t.endpoints
	return &keySource{keys: keys, close: t.close}, nil
}
