package validator

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"tokenbroker/internal/plainjson"
	"tokenbroker/revocation"
)

// Claims are the claims of a valid access token (RFC 9068 §2.2 and the broker's own). All
// requests with the same token share one value, so it must not be modified.
type Claims struct {
	Issuer   string
	Subject  string
	Audience []string
	// ExpiresAt, IssuedAt, NotBefore and AuthTime have a resolution of seconds; the last
	// two are zero when the token does not carry them.
	ExpiresAt, IssuedAt, NotBefore, AuthTime time.Time
	// ID is the jti.
	ID       string
	ClientID string
	// SessionID is stable over refreshes and empty for a client's own tokens.
	SessionID string
	// Scope is the space-separated list as it was signed; see HasScope.
	Scope string
	ACR   string
	AMR   []string
	// SEP and CEP are the epochs of the session and of the client.
	SEP, CEP int64
	// KeyID is the kid that signed the token.
	KeyID string

	payload string
	members []plainjson.Member
}

// HasScope reports whether scope is one of the token's scopes. It does not allocate.
func (c *Claims) HasScope(scope string) bool {
	for rest := c.Scope; scope != "" && rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, " ")
		if one == scope {
			return true
		}
	}
	return false
}

// Get returns a copy of the JSON of any claim, and whether the token has it.
func (c *Claims) Get(name string) (json.RawMessage, bool) {
	for _, m := range c.members {
		if m.Name == name {
			return json.RawMessage(m.Value), true
		}
	}
	return nil, false
}

// Raw returns a copy of all claims as they were signed.
func (c *Claims) Raw() json.RawMessage { return json.RawMessage(c.payload) }

// revocable is the part of the claims that a revocation can hit.
func (c *Claims) revocable() revocation.Subject {
	return revocation.Subject{
		JTI: c.ID, SID: c.SessionID, Sub: c.Subject, ClientID: c.ClientID, KID: c.KeyID,
		SEP: c.SEP, CEP: c.CEP,
	}
}

// newClaims reads the claims of a token with a valid signature and requires those
// without which it could not be judged.
func newClaims(t token) (*Claims, error) {
	c := &Claims{KeyID: t.kid, payload: t.payload, members: t.claims}
	const missing = -1
	exp, iat, nbf, authTime := int64(missing), int64(missing), int64(missing), int64(missing)
	c.SEP, c.CEP = missing, missing
	for _, m := range t.claims {
		var err error
		switch m.Name {
		case "iss":
			c.Issuer, err = plainjson.String(m.Value)
		case "sub":
			c.Subject, err = plainjson.String(m.Value)
		case "aud":
			c.Audience, err = plainjson.OneOrMore(m.Value)
		case "jti":
			c.ID, err = plainjson.String(m.Value)
		case "client_id":
			c.ClientID, err = plainjson.String(m.Value)
		case "sid":
			c.SessionID, err = plainjson.String(m.Value)
			if err == nil && c.SessionID == "" {
				err = errors.New("empty")
			}
		case "scope":
			c.Scope, err = plainjson.String(m.Value)
		case "acr":
			c.ACR, err = plainjson.String(m.Value)
		case "amr":
			c.AMR, err = plainjson.Strings(m.Value)
		case "exp":
			exp, err = integer(m.Value)
		case "iat":
			iat, err = integer(m.Value)
		case "nbf":
			nbf, err = integer(m.Value)
		case "auth_time":
			authTime, err = integer(m.Value)
		case "sep":
			c.SEP, err = integer(m.Value)
		case "cep":
			c.CEP, err = integer(m.Value)
		}
		if err != nil {
			return nil, errors.New("the claim " + m.Name + " has a wrong type or value")
		}
	}
	for _, required := range [...]struct {
		name string
		ok   bool
	}{
		{"iss", c.Issuer != ""}, {"sub", c.Subject != ""}, {"aud", len(c.Audience) > 0},
		{"jti", c.ID != ""}, {"client_id", c.ClientID != ""}, {"exp", exp != missing},
		{"iat", iat != missing}, {"sep", c.SEP != missing}, {"cep", c.CEP != missing},
	} {
		if !required.ok {
			return nil, errors.New("the claim " + required.name + " is missing")
		}
	}
	c.ExpiresAt, c.IssuedAt = time.Unix(exp, 0), time.Unix(iat, 0)
	if nbf != missing {
		c.NotBefore = time.Unix(nbf, 0)
	}
	if authTime != missing {
		c.AuthTime = time.Unix(authTime, 0)
	}
	return c, nil
}

// integer reads a whole number from 0 to 2^53 − 1, the form the broker signs.
func integer(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > revocation.MaxSeq {
		return -1, errors.New("not a whole number from 0 to 2^53-1")
	}
	return n, nil
}

type contextKey struct{}

// NewContext returns a context that carries the claims of the request's token.
func NewContext(ctx context.Context, claims *Claims) context.Context {
	return context.WithValue(ctx, contextKey{}, claims)
}

// FromContext returns the claims that a middleware put into the request's context.
func FromContext(ctx context.Context) (*Claims, bool) {
	claims, ok := ctx.Value(contextKey{}).(*Claims)
	return claims, ok && claims != nil
}
