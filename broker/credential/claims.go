package credential

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"tokenbroker/broker/session"
	"tokenbroker/internal/plainjson"
)

// ClaimsInput is the input of custom claims, as of this sign-in or refresh.
// It must not be changed.
type ClaimsInput struct {
	User     ClaimsUser
	Identity ClaimsIdentity
	Client   ClaimsClient
	Session  ClaimsSession
}

// ClaimsUser is the user. Groups are those of the provider's token at the latest login. Local
// is true only for a user with a local account, whose Username an operator chose. The Username of
// another user comes from the provider and may equal the name of a local user.
type ClaimsUser struct {
	ID, Username         string
	Local                bool
	Attributes           map[string]any
	Roles, Groups        []string
	CreatedAt, LastLogin time.Time
}

// ClaimsIdentity is the account that signed in to this session. After a password sign-in, Provider
// is empty and Issuer is [broker.LocalIssuer].
type ClaimsIdentity struct{ Provider, Issuer, Subject string }

// ClaimsClient is the client that the session belongs to.
type ClaimsClient struct{ ID string }

// ClaimsSession is the session.
type ClaimsSession struct {
	ID, Scope, ACR, Device string
	AMR                    []string
	AuthTime, CreatedAt    time.Time
}

// CustomClaims are the configured claims in addition to the standard ones. Implementations must be safe for concurrent use.
type CustomClaims interface {
	// Claims returns the claims to add to the token. None has a reserved name. After an error, no token is
	// issued: a claim that cannot be computed is never left out.
	Claims(ctx context.Context, in ClaimsInput) (map[string]any, error)
	// UserObject returns the user object of the answers. If nil, they have none.
	UserObject(u ClaimsUser) map[string]any
}

// reservedClaims are the names that a custom claim cannot have: the standard claims of this
// broker's access tokens, and claims that change the meaning of a token to a verifier (RFC 7519
// §4.1, RFC 7800, RFC 8693 §4, OpenID Connect Core §2, and Cognito's token_use).
var reservedClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "sid", "scope", "auth_time", "acr", "amr", "sep", "cep",
	"cnf", "act", "may_act", "azp", "nonce", "at_hash", "c_hash", "s_hash", "typ", "token_use", "events",
}

// ReservedClaim reports whether a custom claim may not have that name. Case is ignored, because a
// decoder such as encoding/json accepts "SUB" as the sub.
func ReservedClaim(name string) bool {
	for _, reserved := range reservedClaims {
		if strings.EqualFold(name, reserved) {
			return true
		}
	}
	return false
}

// AccessToken is the standard claims of an access token (RFC 9068 §2.2), and sid, sep and cep. Members that are empty are left out, but
// sub, aud, client_id, sep and cep are always present, because a token without them is refused. Times are Unix seconds.
type AccessToken struct {
	Issuer, Subject string
	Audience        []string
	ClientID        string
	// SID is empty in a token that belongs to no session.
	SID, Scope          string
	IssuedAt, ExpiresAt int64
	AuthTime            int64
	ACR                 string
	AMR                 []string
	SEP, CEP            int64
	// Act is the party that acts for the subject, or nil.
	Act *Actor
	// ID is the jti. If empty, Encode makes one.
	ID string
}

// Actor is the claim act (RFC 8693 §4.1).
type Actor struct {
	Subject, ClientID string
	// Prior is the actor before this one, or nil. Its own Prior is not encoded.
	Prior *Actor
}

// SessionToken returns the claims of the access token of a committed step.
func SessionToken(issuer string, audience []string, eff session.Effects) AccessToken {
	s := eff.Session
	return AccessToken{
		Issuer: issuer, Subject: s.UID, Audience: audience, ClientID: s.ClientID, SID: s.SID, Scope: s.Scope,
		IssuedAt: eff.IssuedAt, ExpiresAt: eff.ExpiresAt, AuthTime: s.AuthTime, ACR: s.ACR, AMR: s.AMR, SEP: s.SEP, CEP: s.CEP,
	}
}

// NewJTI returns a jti, a UUIDv7.
func NewJTI() (string, error) {
	jti, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("making a jti: %w", err)
	}
	return jti.String(), nil
}

// Encode returns the claims as a JSON object: the standard ones, then custom, sorted by name. A custom claim with a reserved
// name is an error.
func (t AccessToken) Encode(custom map[string]any) ([]byte, error) {
	var err error
	if t.ID == "" {
		if t.ID, err = NewJTI(); err != nil {
			return nil, err
		}
	}
	b := make([]byte, 0, 768)
	b = plainjson.AppendString(append(b, `{"iss":`...), t.Issuer)
	b = plainjson.AppendString(append(b, `,"sub":`...), t.Subject)
	b = plainjson.AppendStrings(append(b, `,"aud":`...), t.Audience)
	b = strconv.AppendInt(append(b, `,"exp":`...), t.ExpiresAt, 10)
	b = strconv.AppendInt(append(b, `,"iat":`...), t.IssuedAt, 10)
	b = strconv.AppendInt(append(b, `,"nbf":`...), t.IssuedAt, 10)
	b = plainjson.AppendString(append(b, `,"jti":`...), t.ID)
	b = plainjson.AppendString(append(b, `,"client_id":`...), t.ClientID)
	b = appendClaim(b, `,"sid":`, t.SID)
	b = appendClaim(b, `,"scope":`, t.Scope)
	if t.AuthTime != 0 {
		b = strconv.AppendInt(append(b, `,"auth_time":`...), t.AuthTime, 10)
	}
	b = appendClaim(b, `,"acr":`, t.ACR)
	if len(t.AMR) > 0 {
		b = plainjson.AppendStrings(append(b, `,"amr":`...), t.AMR)
	}
	b = strconv.AppendInt(append(b, `,"sep":`...), t.SEP, 10)
	b = strconv.AppendInt(append(b, `,"cep":`...), t.CEP, 10)
	if t.Act != nil {
		b = t.Act.append(append(b, `,"act":`...))
	}
	return appendCustom(b, custom)
}

func (a *Actor) append(b []byte) []byte {
	b = plainjson.AppendString(append(b, `{"sub":`...), a.Subject)
	b = appendClaim(b, `,"client_id":`, a.ClientID)
	if a.Prior != nil {
		prior := *a.Prior
		prior.Prior = nil
		b = prior.append(append(b, `,"act":`...))
	}
	return append(b, '}')
}

// IDToken is the claims of an id token (OpenID Connect Core 1.0 §2). Members that are empty are left out. Times are Unix seconds.
type IDToken struct {
	Issuer, Subject, Audience string
	IssuedAt, ExpiresAt       int64
	AuthTime                  int64
	Nonce                     string
	ACR                       string
	AMR                       []string
	// SID is the browser session in which the user authorized the client, which a log-out names.
	SID string
}

// Encode returns the claims as a JSON object, with the at_hash of the access token under the algorithm of the
// signature, then more, sorted by name. A claim of more with a reserved name is an error.
func (t IDToken) Encode(accessToken, algorithm string, more map[string]any) ([]byte, error) {
	hash, err := atHash(accessToken, algorithm)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 768)
	b = plainjson.AppendString(append(b, `{"iss":`...), t.Issuer)
	b = plainjson.AppendString(append(b, `,"sub":`...), t.Subject)
	b = plainjson.AppendString(append(b, `,"aud":`...), t.Audience)
	b = strconv.AppendInt(append(b, `,"exp":`...), t.ExpiresAt, 10)
	b = strconv.AppendInt(append(b, `,"iat":`...), t.IssuedAt, 10)
	if t.AuthTime != 0 {
		b = strconv.AppendInt(append(b, `,"auth_time":`...), t.AuthTime, 10)
	}
	b = appendClaim(b, `,"nonce":`, t.Nonce)
	b = appendClaim(b, `,"at_hash":`, hash)
	b = appendClaim(b, `,"acr":`, t.ACR)
	if len(t.AMR) > 0 {
		b = plainjson.AppendStrings(append(b, `,"amr":`...), t.AMR)
	}
	b = appendClaim(b, `,"sid":`, t.SID)
	return appendCustom(b, more)
}

// atHash returns the left half of the hash of an access token (OpenID Connect Core 1.0 §3.1.3.6). The hash of EdDSA with
// Ed25519 is SHA-512.
func atHash(accessToken, algorithm string) (string, error) {
	switch algorithm {
	case "ES256", "RS256", "PS256":
		sum := sha256.Sum256([]byte(accessToken))
		return strictBase64.EncodeToString(sum[:len(sum)/2]), nil
	case "EdDSA":
		sum := sha512.Sum512([]byte(accessToken))
		return strictBase64.EncodeToString(sum[:len(sum)/2]), nil
	}
	return "", fmt.Errorf("no at_hash for the algorithm %q", algorithm)
}

// appendCustom appends claims to an object without its closing brace, and closes it.
func appendCustom(b []byte, custom map[string]any) ([]byte, error) {
	if len(custom) == 0 {
		return append(b, '}'), nil
	}
	for name := range custom {
		if ReservedClaim(name) {
			return nil, fmt.Errorf("custom claim %q has a reserved name", name)
		}
	}
	standard := len(b)
	b, err := plainjson.AppendObject(b, custom)
	if err != nil {
		return nil, fmt.Errorf("custom claims: %w", err)
	}
	b[standard] = ',' // replaces the opening brace
	return b, nil
}

func appendClaim(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return plainjson.AppendString(append(b, name...), text)
}
