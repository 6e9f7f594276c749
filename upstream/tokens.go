package upstream

import (
	"context"
	"crypto"
	_ "crypto/sha256" // for hashOf
	_ "crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
)

const (
	// maxToken is the size of the largest accepted token in bytes.
	maxToken = 64 << 10
	// maxSubject is the length of the longest sub in ASCII characters (OIDC Core §2).
	maxSubject = 255
	// notBeforeLeeway is how far the provider's clock may be ahead, for nbf.
	notBeforeLeeway = 5 * time.Minute
)

// verifiedToken is a token whose signature, issuer and times were verified.
type verifiedToken struct {
	registered
	claims    claims
	payload   []byte // the signed bytes
	algorithm string
	typ       any // of the protected header; nil if absent
}

// checkCompact refuses a text that is too long, or is not three segments of strict base64url:
// lenient decoders accept several texts for one token (RFC 7515 §7.1, RFC 4648 §3.5).
func checkCompact(raw string) error {
	if len(raw) > maxToken {
		return errSignature
	}
	segments := strings.Split(raw, ".")
	if len(segments) != 3 || strings.ContainsAny(raw, "\r\n") { // which even a strict decoder skips
		return errSignature
	}
	for _, segment := range segments {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(segment); err != nil || segment == "" {
			return errSignature
		}
	}
	return nil
}

// verify checks the signature, the issuer and the times, and reads the claims. The caller checks
// the audience and the kind of token.
func (p *Provider) verify(ctx context.Context, meta *metadata, raw string) (*verifiedToken, error) {
	if err := checkCompact(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, err)
	}
	meta, err := p.keysOf(ctx, meta, raw)
	if err != nil {
		return nil, err
	}
	payload, header, err := meta.keys.verify(ctx, raw)
	if errors.Is(err, errSignature) || errors.Is(err, errUnknownKey) {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamUnavailable, err)
	}
	token := &verifiedToken{payload: payload, algorithm: header.Algorithm, typ: header.ExtraHeaders[jose.HeaderType]}
	if token.claims, err = readClaims(payload); err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, err)
	}
	if token.registered, err = token.claims.registered(); err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, err)
	}
	now := p.cfg.Now()
	switch {
	case !meta.issuer.issues(token.issuer):
		return nil, fmt.Errorf("%w: another issuer", broker.ErrUpstreamToken)
	case token.expires.IsZero():
		return nil, fmt.Errorf("%w: no exp", broker.ErrUpstreamToken)
	case !now.Before(token.expires):
		return nil, fmt.Errorf("%w: expired", broker.ErrUpstreamExpired)
	case token.notBefore.After(now.Add(notBeforeLeeway)):
		return nil, fmt.Errorf("%w: not valid yet", broker.ErrUpstreamToken)
	}
	return token, nil
}

// keysOf returns the metadata of a token's issuer, with its keys. A provider with several issuers
// selects it by the token's iss before the signature is checked: the keys of an issuer are valid
// only for its own tokens.
func (p *Provider) keysOf(ctx context.Context, meta *metadata, raw string) (*metadata, error) {
	if len(p.issuers) == 1 {
		return meta, nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, errSignature)
	}
	members, err := readClaims(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, err)
	}
	of := p.issuerOf(members.text("iss"))
	switch of {
	case nil:
		return nil, fmt.Errorf("%w: another issuer", broker.ErrUpstreamToken)
	case meta.issuer:
		return meta, nil
	}
	found, err := of.discover(ctx)
	if errors.Is(err, errNoIssuer) {
		return nil, fmt.Errorf("%w: the user pool does not have the issuer that the token names", broker.ErrUpstreamToken)
	}
	return found, err
}

func (p *Provider) verifyIDToken(ctx context.Context, meta *metadata, raw string, clientIDs []string) (*verifiedToken, error) {
	id, err := p.verify(ctx, meta, raw)
	if err != nil {
		return nil, err
	}
	_, hasAZP := id.claims["azp"]
	audience := slices.ContainsFunc(id.audience, func(aud string) bool { return slices.Contains(clientIDs, aud) })
	switch {
	case !id.isIDToken():
		return nil, fmt.Errorf("%w: not an id token", broker.ErrUpstreamToken)
	case !goodSubject(id.subject):
		return nil, fmt.Errorf("%w: sub is missing, longer than %d characters or not ASCII", broker.ErrUpstreamToken, maxSubject)
	case !audience, (hasAZP || len(id.audience) > 1) && !slices.Contains(clientIDs, id.claims.text("azp")): // OIDC Core §3.1.3.7
		return nil, fmt.Errorf("%w: for another client", broker.ErrUpstreamToken)
	case p.cfg.Kind == KindCognito && id.claims.text("token_use") != "id":
		return nil, fmt.Errorf("%w: token_use is not id", broker.ErrUpstreamToken)
	case id.issued.IsZero(), id.issued.After(p.cfg.Now().Add(time.Minute)):
		return nil, fmt.Errorf("%w: issued in the future or at no time", broker.ErrUpstreamToken)
	case id.hasEmail() && !id.emailVerified() && !p.cfg.SkipEmailVerifiedCheck:
		return nil, fmt.Errorf("%w", broker.ErrEmailNotVerified)
	}
	return id, nil
}

// verifyAccessToken checks that the access token belongs to the id token's subject and client.
func (p *Provider) verifyAccessToken(ctx context.Context, meta *metadata, raw string, id *verifiedToken) error {
	if id.atHash != "" && !id.matchesAccessToken(raw) {
		return fmt.Errorf("%w: at_hash", broker.ErrUpstreamToken)
	}
	if p.cfg.Kind != KindCognito {
		if id.atHash == "" { // it is opaque, and nothing binds it to the id token
			return fmt.Errorf("%w: it has no at_hash for the access token", broker.ErrUpstreamUnproven)
		}
		return nil
	}
	token, err := p.verify(ctx, meta, raw)
	if err != nil {
		return err
	}
	access := token.claims
	same := token.subject == id.subject && access.text("token_use") == "access" &&
		slices.Contains(id.audience, access.text("client_id")) &&
		access.text("username") == id.claims.text("cognito:username") &&
		access.text("origin_jti") == id.claims.text("origin_jti")
	if !same {
		return fmt.Errorf("%w: the access token is of another subject, client or sign-in", broker.ErrUpstreamToken)
	}
	return nil
}

// goodSubject accepts what OIDC Core §2 allows as sub, without control characters.
func goodSubject(sub string) bool {
	return sub != "" && len(sub) <= maxSubject && strings.IndexFunc(sub, func(c rune) bool { return c < ' ' || c > '~' }) < 0
}

// isIDToken distinguishes id tokens from other tokens of the issuer for the same client, such as
// access tokens (RFC 9068 §2.1) and log-out tokens (OIDC Back-Channel Logout §2.4).
func (id *verifiedToken) isIDToken() bool {
	if id.typ != nil {
		typ, ok := id.typ.(string)
		if !ok || strings.TrimPrefix(strings.ToLower(typ), "application/") != "jwt" {
			return false
		}
	}
	_, events := id.claims["events"]
	return !events
}

// accessClaims are claims of access tokens: scopes (RFC 9068 §2.2.3, Entra ID's and Okta's
// scp), Auth0's grant type, a key confirmation (RFC 7800).
var accessClaims = []string{"scope", "scp", "gty", "cnf"}

// otherTokenKind returns a claim that only other tokens of the issuer for the same client have:
// Keycloak's typ, Cognito's token_use, and claims of access tokens. The last are accepted in a
// token that is proven to be an id token by more than a nonce: some issuers write scope into id
// tokens, and some write the nonce into access tokens.
func (id *verifiedToken) otherTokenKind(proven bool) (claim string, found bool) {
	for claim, ofIDToken := range map[string]string{"typ": "ID", "token_use": "id"} {
		if value := id.claims[claim]; value != nil && value != ofIDToken {
			return claim, true
		}
	}
	if proven {
		return "", false
	}
	for _, claim := range accessClaims {
		if id.claims[claim] != nil {
			return claim, true
		}
	}
	return "", false
}

// matchesAccessToken reports whether the id token's at_hash is the hash of the access token raw
// (OIDC Core §3.1.3.6).
func (id *verifiedToken) matchesAccessToken(raw string) bool {
	h := hashOf(id.algorithm).New()
	h.Write([]byte(raw))
	want := base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:h.Size()/2])
	return subtle.ConstantTimeCompare([]byte(id.atHash), []byte(want)) == 1
}

// hashOf returns the hash function of at_hash (OIDC Core §3.1.3.6) for a signature algorithm. For
// Ed25519 it is SHA-512.
func hashOf(algorithm string) crypto.Hash {
	switch jose.SignatureAlgorithm(algorithm) {
	case jose.RS384, jose.PS384, jose.ES384:
		return crypto.SHA384
	case jose.RS512, jose.PS512, jose.ES512, jose.EdDSA:
		return crypto.SHA512
	}
	return crypto.SHA256
}
