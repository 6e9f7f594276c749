package broker

import (
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"tokenbroker/broker/session"
	"tokenbroker/internal/plainjson"
)

// encodeClaims builds the claims of the token that a committed step fixed: those of an access
// token (RFC 9068 §2.2), sid, sep and cep, then custom, by name. A custom claim of a reserved
// name is an error. sep and cep are never left out: a token without them is refused.
func encodeClaims(issuer string, audience []string, eff session.Effects, custom map[string]any) ([]byte, error) {
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
