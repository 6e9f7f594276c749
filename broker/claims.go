package broker

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"tokenbroker/broker/session"
)

// accessClaims are the claims of an access token (RFC 9068 §2.2, and sid, sep, cep).
type accessClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  []string `json:"aud"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	ID        string   `json:"jti"`
	ClientID  string   `json:"client_id"`
	SID       string   `json:"sid,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	// SEP and CEP are never left out: a token without them is refused.
	SEP int64 `json:"sep"`
	CEP int64 `json:"cep"`
}

// encodeClaims builds the claims of the token that a committed step fixed: the standard
// ones, then custom, by name. A custom claim of a reserved name is an error.
func encodeClaims(issuer string, audience []string, eff session.Effects, custom map[string]any) ([]byte, error) {
	jti, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("making a jti: %w", err)
	}
	s := eff.Session
	standard, err := json.Marshal(accessClaims{
		Issuer: issuer, Subject: s.UID, Audience: audience,
		Expires: eff.ExpiresAt, IssuedAt: eff.IssuedAt, NotBefore: eff.IssuedAt, ID: jti.String(),
		ClientID: s.ClientID, SID: s.SID, Scope: s.Scope, AuthTime: s.AuthTime,
		ACR: s.ACR, AMR: s.AMR, SEP: s.SEP, CEP: s.CEP,
	})
	if err != nil || len(custom) == 0 {
		return standard, err
	}
	for name := range custom {
		if ReservedClaim(name) {
			return nil, fmt.Errorf("custom claim %q has a reserved name", name)
		}
	}
	added, err := json.Marshal(custom)
	if err != nil {
		return nil, fmt.Errorf("custom claims: %w", err)
	}
	standard[len(standard)-1] = ','
	return append(standard, added[1:]...), nil
}
