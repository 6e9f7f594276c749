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

// ClaimsInput is what custom claims are computed from, as it is at this sign-in or refresh.
// Nothing in it may be changed.
type ClaimsInput struct {
	User     ClaimsUser
	Identity ClaimsIdentity
	Client   ClaimsClient
	Session  ClaimsSession
}

// ClaimsUser is the user. Groups are those that the provider named at the latest login. Local
// is true only for a user with a local account, whose Username an operator chose; another
// user's is whatever the provider says, also the name of a local user.
type ClaimsUser struct {
	ID, Username         string
	Local                bool
	Attributes           map[string]any
	Roles, Groups        []string
	CreatedAt, LastLogin time.Time
}

// ClaimsIdentity is where this session's login came from; for a password sign-in Provider
// is empty and Issuer is LocalIssuer.
type ClaimsIdentity struct{ Provider, Issuer, Subject string }

// ClaimsClient is the client that the session belongs to.
type ClaimsClient struct{ ID string }

// ClaimsSession is the session.
type ClaimsSession struct {
	ID, Scope, ACR, Device string
	AMR                    []string
	AuthTime, CreatedAt    time.Time
}

// CustomClaims are the configured claims beside the standard ones. Safe for concurrent use.
type CustomClaims interface {
	// Claims returns the members to add to the token, none of a reserved name. An error
	// refuses the token: a claim that cannot be computed is never left out.
	Claims(ctx context.Context, in ClaimsInput) (map[string]any, error)
	// UserObject returns what answers show of the user; nil: nothing.
	UserObject(u ClaimsUser) map[string]any
}

// reservedClaims are the claims that a custom one can never be: the standard ones of this
// broker's access tokens, and those that change what a verifier makes of a token (RFC 7519
// §4.1, RFC 7800, RFC 8693 §4, OpenID Connect Core §2, and Cognito's token_use).
var reservedClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "sid", "scope", "auth_time", "acr", "amr", "sep", "cep",
	"cnf", "act", "may_act", "azp", "nonce", "at_hash", "c_hash", "s_hash", "typ", "token_use", "events",
}

// ReservedClaim reports whether no custom claim may have that name. Case is ignored: a
// decoder like encoding/json takes a later "SUB" for the sub.
func ReservedClaim(name string) bool {
	for _, reserved := range reservedClaims {
		if strings.EqualFold(name, reserved) {
			return true
		}
	}
	return false
}

// EncodeClaims builds the claims of the token that a committed step fixed: those of an access
// token (RFC 9068 §2.2), sid, sep and cep, then custom, by name. A custom claim of a reserved
// name is an error. sep and cep are never left out: a token without them is refused.
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
	b[standard] = ',' // in the place of its brace
	return b, nil
}

func appendClaim(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return plainjson.AppendString(append(b, name...), text)
}
