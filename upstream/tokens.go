package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"tokenbroker/broker"
)

// idToken is a verified id token.
type idToken struct {
	raw    string
	token  *oidc.IDToken
	claims claims
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

// verify checks the signature with our own keys first, so that its errors stay apart, and
// then what go-oidc checks; clientIDs are the audiences that will do.
func (p *Provider) verify(ctx context.Context, meta *metadata, raw string) (*oidc.IDToken, error) {
	if _, err := meta.keys.VerifySignature(ctx, raw); err != nil {
		if errors.Is(err, errSignature) || errors.Is(err, errUnknownKey) {
			return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamToken, err)
		}
		return nil, fmt.Errorf("%w: %w", broker.ErrUpstreamUnavailable, err)
	}
	verifier := oidc.NewVerifier(p.cfg.Issuer, meta.keys, &oidc.Config{
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
	return token, nil
}

func (p *Provider) verifyIDToken(ctx context.Context, meta *metadata, raw string, clientIDs []string) (*idToken, error) {
	token, err := p.verify(ctx, meta, raw)
	if err != nil {
		return nil, err
	}
	id := &idToken{raw: raw, token: token}
	if err := token.Claims(&id.claims); err != nil {
		return nil, fmt.Errorf("%w: claims", broker.ErrUpstreamToken)
	}
	_, hasAZP := id.claims["azp"]
	audience := slices.ContainsFunc(token.Audience, func(aud string) bool { return slices.Contains(clientIDs, aud) })
	switch {
	case token.Subject == "":
		return nil, fmt.Errorf("%w: no subject", broker.ErrUpstreamToken)
	case !audience, (hasAZP || len(token.Audience) > 1) && !slices.Contains(clientIDs, id.claims.text("azp")): // OIDC Core §3.1.3.7
		return nil, fmt.Errorf("%w: for another client", broker.ErrUpstreamToken)
	case p.cfg.Kind == KindCognito && id.claims.text("token_use") != "id":
		return nil, fmt.Errorf("%w: token_use is not id", broker.ErrUpstreamToken)
	case token.IssuedAt.IsZero(), token.IssuedAt.After(p.cfg.Now().Add(time.Minute)):
		return nil, fmt.Errorf("%w: issued in the future or at no time", broker.ErrUpstreamToken)
	case id.hasEmail() && !id.emailVerified() && !p.cfg.SkipEmailVerifiedCheck:
		return nil, fmt.Errorf("%w", broker.ErrEmailNotVerified)
	}
	return id, nil
}

// verifyAccessToken checks that the access token belongs to the id token's subject and client.
func (p *Provider) verifyAccessToken(ctx context.Context, meta *metadata, raw string, id *idToken) error {
	if id.token.AccessTokenHash != "" {
		if err := id.token.VerifyAccessToken(raw); err != nil {
			return fmt.Errorf("%w: at_hash", broker.ErrUpstreamToken)
		}
	}
	if p.cfg.Kind != KindCognito {
		if id.token.AccessTokenHash == "" { // opaque to us, and nothing binds it
			return fmt.Errorf("%w: nothing ties the access token to the id token", broker.ErrUpstreamToken)
		}
		return nil
	}
	token, err := p.verify(ctx, meta, raw)
	if err != nil {
		return err
	}
	var access claims
	if err := token.Claims(&access); err != nil {
		return fmt.Errorf("%w: claims", broker.ErrUpstreamToken)
	}
	same := token.Subject == id.token.Subject && access.text("token_use") == "access" &&
		slices.Contains(id.token.Audience, access.text("client_id")) &&
		access.text("username") == id.claims.text("cognito:username") &&
		access.text("origin_jti") == id.claims.text("origin_jti")
	if !same {
		return fmt.Errorf("%w: the access token is of another subject, client or sign-in", broker.ErrUpstreamToken)
	}
	return nil
}

func (id *idToken) hasEmail() bool { return id.claims["email"] != nil && id.claims["email"] != "" }

// emailVerified takes the word true, too: some providers send text.
func (id *idToken) emailVerified() bool {
	verified := id.claims["email_verified"]
	return verified == true || verified == "true"
}

// protocolClaims say something of the token, not of the user.
var protocolClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "azp", "auth_time", "acr", "amr", "sid",
	"token_use", "origin_jti", "event_id", "cognito:username", "cognito:groups",
}

// identity is what the broker may know of a verified id token.
func (id *idToken) identity(cfg Config) broker.Identity {
	sum := sha256.Sum256([]byte(id.raw))
	c := id.claims
	identity := broker.Identity{
		Provider: cfg.Name, Issuer: id.token.Issuer, Subject: id.token.Subject,
		Username: first(c.text("cognito:username"), c.text("preferred_username"), c.text("email")),
		Email:    c.text("email"), EmailVerified: id.emailVerified(),
		Groups: c.texts("groups"), Attributes: map[string]any{}, ACR: c.text("acr"), AMR: c.texts("amr"),
		UpstreamSID: first(c.text("sid"), c.text("origin_jti")),
		TokenHash:   hex.EncodeToString(sum[:]), ExpiresAt: id.token.Expiry,
	}
	if cfg.Kind == KindCognito {
		identity.Groups = c.texts("cognito:groups")
	}
	if at, ok := c["auth_time"].(float64); ok && at > 0 {
		identity.AuthTime = time.Unix(int64(at), 0)
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
