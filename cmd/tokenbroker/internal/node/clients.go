package node

import (
	"context"
	"crypto"
	"encoding/json"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/api/oauth"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/broker/registration"
	"tokenbroker/internal/plainjson"
	"tokenbroker/upstream"
	"tokenbroker/validator"
)

// startClients makes the use cases of OAuth clients.
func (n *Node) startClients(cfg oauthclient.Config) error {
	own, err := validator.NewInProcess(validator.InProcessConfig{
		Issuer: n.issuer, SkipAudience: true, Keys: n.keys.Verifier,
		Denylist: n.deny, Now: n.ledger.Now, MaxLifetime: n.longestVerifiedLife(),
	})
	if err != nil {
		return err
	}
	n.tokens = verifier{validator: own, cluster: n.cluster}
	assertions := upstream.NewAssertions(upstream.AssertionsConfig{
		Instrument: n.instrument("assertions"), Now: n.cfg.Wall, Logger: n.cfg.Logger, InsecureLoopback: n.cfg.Documents.InsecureLoopback,
	})
	n.onStop(func(context.Context) error { assertions.Close(); return nil })
	cfg.AccessTokens, cfg.Assertions, cfg.IDTokens = n.tokens, assertions, idTokens{n.issuer, n.keys.Verifier}
	if len(n.providers) > 0 {
		cfg.Upstreams = n.endUsers
	}
	docs := n.cfg.Documents
	cfg.DocumentPolicy, cfg.RegistrationPolicy, cfg.UnusedAfter = docs.Policy, n.cfg.Registration.Policy, n.cfg.Registration.UnusedAfter
	if docs.Enabled {
		documents := upstream.NewDocuments(upstream.DocumentsConfig{
			Hosts: docs.Hosts, InsecureLoopback: docs.InsecureLoopback, Instrument: n.instrument("client_documents"), Now: n.cfg.Wall, Logger: n.cfg.Logger,
			Check: func(url string, body []byte) error { return oauthclient.CheckDocument(url, body, docs.Policy) },
		})
		n.onStop(func(context.Context) error { documents.Close(); return nil })
		cfg.Documents, cfg.InsecureLoopback = documents, docs.InsecureLoopback
	}
	n.oauthClients = oauthclient.New(cfg)
	return nil
}

// registrations returns the use cases of clients that register themselves, or nil if they may not.
func (n *Node) registrations() oauth.Registrations {
	r := n.cfg.Registration
	if !r.Enabled {
		return nil
	}
	var initial []byte
	if r.InitialToken != "" {
		initial = directory.HashSecret(r.InitialToken)
	}
	return registration.New(registration.Config{
		Path: n.path, Store: n.store, Clock: n.ledger, Policy: r.Policy, Limits: directory.ClientLimits{Policy: n.cfg.Policy, Shared: n.cfg.Engine != nil},
		Names: n.oauthClients, InitialTokenHash: initial, PerMinute: r.PerMinute, MaxClients: r.MaxClients, UnusedAfter: r.UnusedAfter,
		Logger: n.cfg.Logger, Audit: n.cfg.Audit,
	})
}

// idTokens checks id tokens by the published access keys.
type idTokens struct {
	issuer string
	keys   func(kid string) (alg string, public crypto.PublicKey, ok bool)
}

var _ oauthclient.IDTokens = idTokens{}

// maxIDToken is the maximum length of an id token. A longer one is refused.
const maxIDToken = 16 << 10

// VerifyIDToken implements [oauthclient.IDTokens].
func (t idTokens) VerifyIDToken(_ context.Context, token string) (json.RawMessage, bool) {
	if len(token) > maxIDToken {
		return nil, false
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256})
	if err != nil {
		return nil, false
	}
	head := jws.Signatures[0].Protected
	alg, public, ok := t.keys(head.KeyID)
	if !ok || head.Algorithm != alg || head.ExtraHeaders[jose.HeaderType] != "JWT" {
		return nil, false
	}
	payload, err := jws.Verify(public)
	if err != nil {
		return nil, false
	}
	claims, err := plainjson.ReadObject(string(payload), nil)
	if err != nil {
		return nil, false
	}
	for _, m := range claims {
		if m.Name == "iss" {
			issuer, err := plainjson.String(m.Value)
			return payload, err == nil && issuer == t.issuer
		}
	}
	return nil, false
}
