package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"tokenbroker/revocation"
)

// errNoToken does not show what was given.
var errNoToken = errors.New("this is no access token of a token broker")

// tokenParts is what revocations can hit of a token that was read without its signature.
type tokenParts struct {
	KID      string `json:"-"`
	JTI      string `json:"jti"`
	SID      string `json:"sid"`
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	SEP      *int64 `json:"sep"`
	CEP      *int64 `json:"cep"`
}

// tokenPart is a value of a kind; an event hits it with an epoch above made.
type tokenPart struct {
	kind  revocation.Kind
	value string
	made  int64
}

// parseToken reads a compact JWS (RFC 7515 §3.1). Its errors do not show it.
func parseToken(text string) (tokenParts, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 3 {
		return tokenParts{}, errNoToken
	}
	var header struct {
		KID string `json:"kid"`
	}
	var token tokenParts
	for i, into := range []any{&header, &token} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return tokenParts{}, errNoToken
		}
	}
	if token.JTI == "" || token.SEP == nil || token.CEP == nil {
		return tokenParts{}, errNoToken
	}
	token.KID = header.KID
	return token, nil
}

// parts are the token's values by kind. jti, sid and kid have no epochs.
func (t tokenParts) parts() []tokenPart {
	return []tokenPart{
		{revocation.KindJTI, t.JTI, -1}, {revocation.KindSID, t.SID, -1}, {revocation.KindSub, t.Subject, *t.SEP},
		{revocation.KindClient, t.ClientID, *t.CEP}, {revocation.KindKID, t.KID, -1}, {revocation.KindAll, "", *t.SEP},
	}
}
