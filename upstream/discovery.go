package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"tokenbroker/broker"
)

// issuer is one issuer of a provider, with its discovery document and keys.
type issuer struct {
	url       string
	provider  *Provider
	transport *transport

	meta   atomic.Pointer[metadata] // nil until the discovery succeeded
	flight singleflight.Group
	// failedAt and lastError limit the rate of attempts. They are used only by the flight.
	failedAt  time.Time
	lastError error
}

// metadata is the content of a discovery document.
type metadata struct {
	issuer     *issuer
	read       time.Time
	oauth      oauth2.Config
	keys       *keySet
	endSession string
	answersIss bool // RFC 9207 §3
}

// client returns the client for the endpoints in the document.
func (m *metadata) client() *http.Client { return m.issuer.transport.endpoints }

// issues reports whether iss names this issuer. Google's tokens have its issuer with or without the
// scheme.
func (i *issuer) issues(iss string) bool {
	const google = "accounts.google.com"
	return iss == i.url || i.url == "https://"+google && iss == google
}

// recordOutcome records the result of a request to this issuer, if the provider uses it. Anyone can
// write a token with another issuer, so requests to other issuers do not count for the provider.
func (i *issuer) recordOutcome(err error) {
	if i == i.provider.current() {
		i.provider.recordOutcome(err)
	}
}

// discover returns the content of the discovery document. The first callers wait until it is read,
// or until their context ends. If it is older than maxMetaAge, it is read again in the background.
func (i *issuer) discover(ctx context.Context) (*metadata, error) {
	if meta := i.meta.Load(); meta != nil {
		if i.provider.cfg.Now().Sub(meta.read) > maxMetaAge {
			i.attempt(ctx, maxMetaAge)
		}
		return meta, nil
	}
	select {
	case a := <-i.attempt(ctx, maxMetaAge):
		return i.meta.Load(), a.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: discovery: %w", broker.ErrUpstreamUnavailable, ctx.Err())
	}
}

// attempt reads the discovery document unless the last one is younger than maxAge or an attempt
// failed just before. All callers that wait share an attempt, which continues if one of them stops
// waiting. If it fails, the last document stays in use.
func (i *issuer) attempt(ctx context.Context, maxAge time.Duration) <-chan singleflight.Result {
	return i.flight.DoChan("discovery", func() (any, error) {
		cfg, old, pause := &i.provider.cfg, i.meta.Load(), rediscover
		if i.provider.current().meta.Load() != nil { // the provider can be used
			pause = refetchEvery
		}
		switch now := cfg.Now(); {
		case i.lastError != nil && now.Sub(i.failedAt) < pause:
			return nil, i.lastError
		case old != nil && now.Sub(old.read) < maxAge:
			return nil, nil
		}
		meta, err := i.fetchMetadata(context.WithoutCancel(ctx), old)
		if err != nil {
			level := slog.LevelWarn
			if i.lastError != nil && i != i.provider.current() { // anyone can write a token with this issuer
				level = slog.LevelDebug
			}
			cfg.Logger.Log(ctx, level, "the provider could not be discovered", "issuer", i.url, "error", err)
			i.failedAt, i.lastError = cfg.Now(), fmt.Errorf("%w: discovery: %w", broker.ErrUpstreamUnavailable, err)
		} else {
			i.lastError = nil
			i.meta.Store(meta)
		}
		i.recordOutcome(err)
		return nil, i.lastError
	})
}

// fetchMetadata reads the discovery document. It reuses the key set of old if the URL of the keys
// is the same.
func (i *issuer) fetchMetadata(ctx context.Context, old *metadata) (*metadata, error) {
	cfg := &i.provider.cfg
	ctx, succeeded := i.transport.observeDiscovery(ctx)
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, i.transport.discovery), i.url)
	var other *oidc.IssuerMismatchError
	if errors.As(err, &other) {
		return nil, fmt.Errorf("the document names the issuer %.250q, not %.250q; the configured issuer must be identical", other.Discovered, other.Provided)
	}
	if errors.Is(err, errNoIssuer) {
		return nil, fmt.Errorf("reading the discovery document: %w", err)
	}
	if err != nil { // the text may contain the whole answer
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
	if err := found.Claims(&more); err != nil || more.JWKSURI == "" ||
		!cfg.keysOnly && (endpoint.AuthURL == "" || endpoint.TokenURL == "") {
		return nil, errors.New("the document names no keys or no endpoints")
	}
	if cfg.keysOnly {
		endpoint, more.EndSession = oauth2.Endpoint{}, ""
	}
	// The broker does not use other URLs of the document.
	for _, member := range []struct{ name, url string }{
		{"authorization_endpoint", endpoint.AuthURL}, {"token_endpoint", endpoint.TokenURL}, {"jwks_uri", more.JWKSURI},
		{"end_session_endpoint", more.EndSession},
	} {
		if member.url == "" {
			continue
		}
		if err := i.transport.checkEndpoint(member.url); err != nil {
			return nil, fmt.Errorf("the document's %s: %w", member.name, err)
		}
	}
	// Set explicitly, because the library would otherwise try both styles and send a refused code
	// twice.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	basic := len(more.AuthMethods) == 0 || slices.Contains(more.AuthMethods, "client_secret_basic")
	if cfg.ClientSecret == "" || !basic {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	keys := &keySet{
		url: more.JWKSURI, allowed: cfg.algorithms(more.Algorithms), client: i.transport.endpoints, now: cfg.Now, logger: cfg.Logger, fetches: &i.provider.fetches, onFetch: i.recordOutcome,
	}
	if old != nil && old.keys.url == keys.url && slices.Equal(old.keys.allowed, keys.allowed) {
		keys = old.keys
	}
	return &metadata{
		issuer: i, read: cfg.Now(),
		oauth: oauth2.Config{
			ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret, Endpoint: endpoint, Scopes: cfg.Scopes,
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
