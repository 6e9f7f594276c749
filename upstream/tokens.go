package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"tokenbroker/broker"
)

// proven is a token whose signature, issuer and times are good.
type proven struct {
	*oidc.IDToken
	payload []byte // what was signed, byte for byte
	typ     any    // of the protected header; nil: none
	claims  claims
}

// claims are read by their exact names; one of an unexpected type counts as absent, so
// that a provider's own idea of "groups" keeps nobody out.
type claims map[string]any

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

func (c claims) texts(name string) []string {
	list, _ := c[name].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// compact refuses what is not three segments of strict base64url: lenient decoders read
// several texts as one token (RFC 7515 §7.1, RFC 4648 §3.5).
func compact(raw string) error {
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

// payload hands go-oidc what was verified already.
type payload []byte

var _ oidc.KeySet = payload(nil)

// VerifySignature implements [oidc.KeySet].
func (p payload) VerifySignature(context.Context, string) ([]byte, error) { return p, nil }

// verify checks the signature with our own keys first, so that its errors stay apart, and
// then what go-oidc checks; the audience is the caller's to check.
func (p *Provider) verify(ctx context.Context, meta *metadata, raw string) (*proven, error) {
	if err := compact(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, err)
	}
	signed, typ, err := meta.keys.verify(ctx, raw)
	if errors.Is(err, errSignature) || errors.Is(err, errUnknownKey) {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamUnavailable, err)
	}
	verifier := oidc.NewVerifier(p.cfg.Issuer, payload(signed), &oidc.Config{
		SkipClientIDCheck: true, SupportedSigningAlgs: []string{"RS256", "ES256", "PS256", "EdDSA"}, Now: p.cfg.Now,
	})
	token, err := verifier.Verify(ctx, raw)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return nil, fmt.Errorf("%w: expired", broker.ErrUpstreamExpired)
	case err != nil:
		return nil, fmt.Errorf("%w: issuer or times", broker.ErrUpstreamToken)
	}
	out := &proven{IDToken: token, payload: signed, typ: typ}
	numbers := json.NewDecoder(bytes.NewReader(signed))
	numbers.UseNumber() // a float64 is not every number
	if err := numbers.Decode(&out.claims); err != nil {
		return nil, fmt.Errorf("%w: claims", broker.ErrUpstreamToken)
	}
	return out, nil
}

// isIDToken tells id tokens from the issuer's other tokens for the same client: access
// tokens (RFC 9068 §2.1), log-out tokens (OIDC Back-Channel Logout §2.4) and their like.
func (id *proven) isIDToken() bool {
	if id.typ != nil {
		typ, ok := id.typ.(string)
		if !ok || strings.TrimPrefix(strings.ToLower(typ), "application/") != "jwt" {
			return false
		}
	}
	_, events := id.claims["events"]
	return !events
}

func (p *Provider) verifyIDToken(ctx context.Context, meta *metadata, raw string, clientIDs []string) (*proven, error) {
	id, err := p.verify(ctx, meta, raw)
	if err != nil {
		return nil, err
	}
	_, hasAZP := id.claims["azp"]
	audience := slices.ContainsFunc(id.Audience, func(aud string) bool { return slices.Contains(clientIDs, aud) })
	switch {
	case !id.isIDToken():
		return nil, fmt.Errorf("%w: not an id token", broker.ErrUpstreamToken)
	case id.Subject == "":
		return nil, fmt.Errorf("%w: no subject", broker.ErrUpstreamToken)
	case !audience, (hasAZP || len(id.Audience) > 1) && !slices.Contains(clientIDs, id.claims.text("azp")): // OIDC Core §3.1.3.7
		return nil, fmt.Errorf("%w: for another client", broker.ErrUpstreamToken)
	case p.cfg.Kind == KindCognito && id.claims.text("token_use") != "id":
		return nil, fmt.Errorf("%w: token_use is not id", broker.ErrUpstreamToken)
	case id.IssuedAt.IsZero(), id.IssuedAt.After(p.cfg.Now().Add(time.Minute)):
		return nil, fmt.Errorf("%w: issued in the future or at no time", broker.ErrUpstreamToken)
	case id.hasEmail() && !id.emailVerified() && !p.cfg.SkipEmailVerifiedCheck:
		return nil, fmt.Errorf("%w", broker.ErrEmailNotVerified)
	}
	return id, nil
}

// verifyAccessToken checks that the access token belongs to the id token's subject and client.
func (p *Provider) verifyAccessToken(ctx context.Context, meta *metadata, raw string, id *proven) error {
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(raw); err != nil {
			return fmt.Errorf("%w: at_hash", broker.ErrUpstreamToken)
		}
	}
	if p.cfg.Kind != KindCognito {
		if id.AccessTokenHash == "" { // opaque to us, and nothing binds it
			return fmt.Errorf("%w: nothing ties the access token to the id token", broker.ErrUpstreamToken)
		}
		return nil
	}
	token, err := p.verify(ctx, meta, raw)
	if err != nil {
		return err
	}
	access := token.claims
	same := token.Subject == id.Subject && access.text("token_use") == "access" &&
		slices.Contains(id.Audience, access.text("client_id")) &&
		access.text("username") == id.claims.text("cognito:username") &&
		access.text("origin_jti") == id.claims.text("origin_jti")
	if !same {
		return fmt.Errorf("%w: the access token is of another subject, client or sign-in", broker.ErrUpstreamToken)
	}
	return nil
}

func (id *proven) hasEmail() bool { return id.claims["email"] != nil && id.claims["email"] != "" }

// emailVerified takes the word true, too: some providers send text.
func (id *proven) emailVerified() bool {
	verified := id.claims["email_verified"]
	return verified == true || verified == "true"
}

// protocolClaims say something of the token, not of the user.
var protocolClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "azp", "auth_time", "acr", "amr", "sid",
	"token_use", "origin_jti", "event_id", "cognito:username", "cognito:groups",
}

// identity is what the broker may know of a verified id token. The issuer is the configured
// one: Google's is written in two ways. The hash is over what was signed, because one
// payload can have several texts and good signatures (of ECDSA: s and n−s).
func (id *proven) identity(cfg Config) broker.Identity {
	sum := sha256.Sum256(append([]byte(cfg.Issuer+"\x00"), id.payload...))
	c := id.claims
	identity := broker.Identity{
		Provider: cfg.Name, Issuer: cfg.Issuer, Subject: id.Subject,
		Username: first(c.text("cognito:username"), c.text("preferred_username"), c.text("email")),
		Email:    c.text("email"), EmailVerified: id.emailVerified(),
		Groups: c.texts("groups"), Attributes: map[string]any{}, ACR: c.text("acr"), AMR: c.texts("amr"),
		UpstreamSID: first(c.text("sid"), c.text("origin_jti")),
		TokenHash:   hex.EncodeToString(sum[:]), ExpiresAt: id.Expiry,
	}
	if cfg.Kind == KindCognito {
		identity.Groups = c.texts("cognito:groups")
	}
	if text, ok := c["auth_time"].(json.Number); ok {
		if at, err := text.Int64(); err == nil && at >= 1 && at <= cfg.Now().Add(time.Minute).Unix() {
			identity.AuthTime = time.Unix(at, 0)
		}
	}
	for name, value := range c {
		if !slices.Contains(protocolClaims, name) {
			identity.Attributes[name] = value
		}
	}
	return identity
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
