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
	claims idClaims
	all    map[string]any
}

type idClaims struct {
	TokenUse      string   `json:"token_use"`
	AZP           string   `json:"azp"`
	Email         string   `json:"email"`
	EmailVerified any      `json:"email_verified"` // some providers send it as text
	Username      string   `json:"preferred_username"`
	CognitoUser   string   `json:"cognito:username"`
	Groups        []string `json:"groups"`
	CognitoGroups []string `json:"cognito:groups"`
	OriginJTI     string   `json:"origin_jti"`
	SID           string   `json:"sid"`
	AuthTime      int64    `json:"auth_time"`
	ACR           string   `json:"acr"`
	AMR           []string `json:"amr"`
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
	if err := errors.Join(token.Claims(&id.claims), token.Claims(&id.all)); err != nil {
		return nil, fmt.Errorf("%w: claims of a wrong type", broker.ErrUpstreamToken)
	}
	audience := slices.ContainsFunc(token.Audience, func(aud string) bool { return slices.Contains(clientIDs, aud) })
	switch {
	case token.Subject == "":
		return nil, fmt.Errorf("%w: no subject", broker.ErrUpstreamToken)
	case !audience, len(token.Audience) > 1 && !slices.Contains(clientIDs, id.claims.AZP):
		return nil, fmt.Errorf("%w: for another client", broker.ErrUpstreamToken)
	case p.cfg.Kind == KindCognito && id.claims.TokenUse != "id":
		return nil, fmt.Errorf("%w: token_use is not id", broker.ErrUpstreamToken)
	case token.IssuedAt.After(p.cfg.Now().Add(time.Minute)):
		return nil, fmt.Errorf("%w: issued in the future", broker.ErrUpstreamToken)
	case id.claims.Email != "" && !id.emailVerified():
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
	var access struct {
		TokenUse  string `json:"token_use"`
		ClientID  string `json:"client_id"`
		Username  string `json:"username"`
		OriginJTI string `json:"origin_jti"`
	}
	if err := token.Claims(&access); err != nil {
		return fmt.Errorf("%w: claims of a wrong type", broker.ErrUpstreamToken)
	}
	same := token.Subject == id.token.Subject && access.TokenUse == "access" &&
		slices.Contains(id.token.Audience, access.ClientID) &&
		(access.Username == "" || access.Username == id.claims.CognitoUser) && access.OriginJTI == id.claims.OriginJTI
	if !same {
		return fmt.Errorf("%w: the access token is of another subject, client or sign-in", broker.ErrUpstreamToken)
	}
	return nil
}

func (id *idToken) emailVerified() bool {
	return id.claims.EmailVerified == true || id.claims.EmailVerified == "true"
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
		Username: first(c.CognitoUser, c.Username, c.Email), Email: c.Email, EmailVerified: id.emailVerified(),
		Groups: c.Groups, Attributes: map[string]any{}, ACR: c.ACR, AMR: c.AMR, UpstreamSID: first(c.SID, c.OriginJTI),
		TokenHash: hex.EncodeToString(sum[:]), ExpiresAt: id.token.Expiry,
	}
	if cfg.Kind == KindCognito {
		identity.Groups = c.CognitoGroups
	}
	if c.AuthTime > 0 {
		identity.AuthTime = time.Unix(c.AuthTime, 0)
	}
	for name, value := range id.all {
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
