package credential

import (
	"context"
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

// EncodeClaims returns the claims of the access token of a committed step: the standard ones
// (RFC 9068 §2.2), sid, sep and cep, then custom, sorted by name. A custom claim with a reserved
// name is an error. sep and cep are always present, because a token without them is refused.
func EncodeClaims(issuer string, audience []string, eff session.Effects, custom map[string]any) ([]byte, error) {
	jti, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("making a jti: %w", err)
	}
	s := eff.Session
	b := make([]byte, 0, 768)
	b = plainjson.AppendString(append(b, `{"iss":`...), issuer)
	b = plainjson.AppendString(append(b, `,"sub":`...), s.UID)
	b = plainjson.AppendStrings(append(b, `,"aud":`...), audience)
	b = strconv.AppendInt(append(b, `,"exp":`...), eff.ExpiresAt, 10)
	b = strconv.AppendInt(append(b, `,"iat":`...), eff.IssuedAt, 10)
	b = strconv.AppendInt(append(b, `,"nbf":`...), eff.IssuedAt, 10)
	b = plainjson.AppendString(append(b, `,"jti":`...), jti.String())
	b = plainjson.AppendString(append(b, `,"client_id":`...), s.ClientID)
	b = appendClaim(b, `,"sid":`, s.SID)
	b = appendClaim(b, `,"scope":`, s.Scope)
	if s.AuthTime != 0 {
		b = strconv.AppendInt(append(b, `,"auth_time":`...), s.AuthTime, 10)
	}
	b = appendClaim(b, `,"acr":`, s.ACR)
	if len(s.AMR) > 0 {
		b = plainjson.AppendStrings(append(b, `,"amr":`...), s.AMR)
	}
	b = strconv.AppendInt(append(b, `,"sep":`...), s.SEP, 10)
	b = strconv.AppendInt(append(b, `,"cep":`...), s.CEP, 10)
	if len(custom) == 0 {
		return append(b, '}'), nil
	}
	for name := range custom {
		if ReservedClaim(name) {
			return nil, fmt.Errorf("custom claim %q has a reserved name", name)
		}
	}
	standard := len(b)
	if b, err = plainjson.AppendObject(b, custom); err != nil {
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
