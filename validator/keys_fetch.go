package validator

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"tokenbroker/revocation"
)

const (
	jobTokenKeys = "fetching the token keys"
	jobFeedKeys  = "fetching the feed keys"

	documentTimeout = 4 * time.Second
	maxTokenLife    = 366 * 24 * time.Hour
)

// startTokenKeys fetches discovery and token keys: both say what a token may be.
func (s *syncer) startTokenKeys(ctx context.Context) {
	s.counts.tokenFetches.Add(1)
	old := s.tokens.set.Load()
	s.spawn(ctx, func() func() {
		set, err := s.fetchTokenKeys(ctx, old)
		return func() { s.takeTokenKeys(ctx, set, err) }
	})
}

func (s *syncer) takeTokenKeys(ctx context.Context, set *keySet, err error) {
	fetched := revocation.Fetched{Err: err}
	if err == nil {
		fetched.Store, fetched.ETag = set.store, set.etag
		if !s.tracker.Accepts(set.store) {
			err = errOtherStore
		} else if s.tokens.replace(set, s.deny.KidRevoked) {
			s.deny.BumpVersion()
		}
	}
	s.outcome(jobTokenKeys, err)
	s.perform(ctx, s.tracker.TokenKeysFetched(s.instant(), fetched))
	s.tokens.finish(err != nil)
}

var errOtherStore = errors.New("the key set is of another store than the revocations")

func (s *syncer) fetchTokenKeys(ctx context.Context, old *keySet) (*keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, documentTimeout)
	defer cancel()
	d, err := s.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the discovery document: %w", err)
	}
	doc, err := s.fetchDocument(ctx, d.JWKSURI, old.etag)
	if err != nil {
		return nil, err
	}
	set := &keySet{loaded: true, etag: doc.etag, maxLifetime: time.Duration(d.MaxLifetime) * time.Second}
	if doc.unchanged {
		set.etag, set.store, set.keys = old.etag, old.store, maps.Clone(old.keys)
		return set, nil
	}
	set.store, set.keys, err = parseTokenKeys(doc.body)
	return set, err
}

// discovery is what is needed of the issuer's metadata (OpenID Connect Discovery 1.0 §3).
type discovery struct {
	Issuer      string `json:"issuer"`
	JWKSURI     string `json:"jwks_uri"`
	MaxLifetime int64  `json:"access_token_max_lifetime"`
}

func (s *syncer) discover(ctx context.Context) (discovery, error) {
	var d discovery
	doc, err := s.fetchDocument(ctx, s.issuer+"/.well-known/openid-configuration", "")
	if err != nil {
		return d, err
	}
	if err := decodeJSON(doc.body, &d); err != nil {
		return d, err
	}
	if err := s.checkDiscovery(d); err != nil {
		return d, lastingError{err}
	}
	return d, nil
}

// checkDiscovery refuses metadata that is not the configured broker's.
func (s *syncer) checkDiscovery(d discovery) error {
	if d.Issuer != s.cfg.Issuer {
		return fmt.Errorf("it is of issuer %.100q, want %q: Issuer has to be the broker's public_url to the letter", d.Issuer, s.cfg.Issuer)
	}
	if d.MaxLifetime <= 0 || d.MaxLifetime > int64(maxTokenLife/time.Second) {
		return fmt.Errorf("access_token_max_lifetime is %d s: is it a tokenbroker's?", d.MaxLifetime)
	}
	issuer, err1 := url.Parse(d.Issuer)
	keys, err2 := url.Parse(d.JWKSURI)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("reading its addresses: %w", err)
	}
	if keys.Host == "" || keys.Scheme != "https" && keys.Scheme != issuer.Scheme {
		return fmt.Errorf("jwks_uri %.200q is not an address as safe as the issuer's", d.JWKSURI)
	}
	return nil
}

// startFeedKeys fetches the keys that sign the feed's messages.
func (s *syncer) startFeedKeys(ctx context.Context) {
	s.counts.keyFetches.Add(1)
	etag := s.feedKeys.etag
	s.spawn(ctx, func() func() {
		set, doc, err := s.fetchFeedKeys(ctx, etag)
		return func() { s.takeFeedKeys(ctx, etag, set, doc, err) }
	})
}

func (s *syncer) fetchFeedKeys(ctx context.Context, etag string) (keys map[string]ed25519.PublicKey, doc document, err error) {
	ctx, cancel := context.WithTimeout(ctx, documentTimeout)
	defer cancel()
	doc, err = s.fetchDocument(ctx, s.issuer+"/revocations/jwks.json", etag)
	if err != nil || doc.unchanged {
		return nil, doc, err
	}
	doc.store, keys, err = parseFeedKeys(doc.body)
	return keys, doc, err
}

func (s *syncer) takeFeedKeys(ctx context.Context, etag string, keys map[string]ed25519.PublicKey, doc document, err error) {
	fetched := revocation.Fetched{Err: err, Store: doc.store, ETag: doc.etag}
	switch {
	case err != nil:
	case doc.unchanged && s.feedKeys.etag == etag:
		fetched.Store, fetched.ETag = s.feedKeys.store, etag
	case doc.unchanged:
		// The keys that were asked about are gone meanwhile.
		err = errors.New("the key set changed while it was fetched")
		fetched.Err = err
	case !s.tracker.Accepts(doc.store):
		err = errOtherStore
	default:
		fetched.Changed, fetched.Removed = s.feedKeys.replace(keys, s.deny.KidRevoked)
		s.feedKeys.etag, s.feedKeys.store = doc.etag, doc.store
	}
	s.outcome(jobFeedKeys, err)
	s.perform(ctx, s.tracker.FeedKeysFetched(s.instant(), fetched))
}

// document is one answer to a conditional GET (RFC 9110 §13.1.2).
type document struct {
	body      []byte
	etag      string
	store     string
	unchanged bool
}

func (s *syncer) fetchDocument(ctx context.Context, address, etag string) (document, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return document{}, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return document{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if etag != "" && resp.StatusCode == http.StatusNotModified {
		return document{unchanged: true}, nil
	}
	if err := expectJSON(resp); err != nil {
		return document{}, err
	}
	body, err := readLimited(resp.Body, maxDocumentBytes)
	if err != nil {
		return document{}, fmt.Errorf("reading %s: %w", req.URL.Path, err)
	}
	return document{body: body, etag: resp.Header.Get("ETag")}, nil
}
