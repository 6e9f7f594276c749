package adminclient

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

const revocationsPath = "/admin/v1/revocations"

// Revocation names what to revoke: everything of a user (Kind sub; Value a uid or a
// local user name) or of a client, one session (sid), one token (jti), or everything (Kind
// all, without a Value).
type Revocation struct {
	Kind  revocation.Kind `json:"kind"`
	Value string          `json:"value,omitempty"`
	// Reason is a stable code. The server's default is revoked.
	Reason revocation.Reason `json:"reason,omitempty"`
	Note   string            `json:"note,omitempty"`
}

// BulkRevocation names up to [operator.MaxBulkRevocation] values of one kind: jti, sid or sub.
type BulkRevocation struct {
	Kind   revocation.Kind   `json:"kind"`
	Values []string          `json:"values"`
	Reason revocation.Reason `json:"reason,omitempty"`
	Note   string            `json:"note,omitempty"`
}

// RevocationPage is one page of the live revocations. Next is the position of the next page, or "".
type RevocationPage struct {
	Revocations []revocation.Event `json:"revocations"`
	Next        string             `json:"next,omitempty"`
}

// Revoke revokes tokens and sessions.
func (c *Client) Revoke(ctx context.Context, r Revocation) (operator.Revoked, error) {
	return ask[operator.Revoked](ctx, c, http.MethodPost, revocationsPath, nil, r)
}

// RevokeBulk revokes many values at once. It is safe to call it again after an error.
func (c *Client) RevokeBulk(ctx context.Context, r BulkRevocation) (operator.BulkRevoked, error) {
	return ask[operator.BulkRevoked](ctx, c, http.MethodPost, revocationsPath+"/bulk", nil, r)
}

// CheckRevocation returns what revokes a value. If kind is empty, the server tries each kind.
func (c *Client) CheckRevocation(ctx context.Context, kind revocation.Kind, value string) (operator.RevocationCheck, error) {
	query := url.Values{}
	set(query, "kind", string(kind))
	set(query, "value", value)
	return ask[operator.RevocationCheck](ctx, c, http.MethodGet, revocationsPath+"/check", query, nil)
}

// ListRevocations returns one page of the live revocations.
func (c *Client) ListRevocations(ctx context.Context, after string, limit int) (RevocationPage, error) {
	return ask[RevocationPage](ctx, c, http.MethodGet, revocationsPath, paged(url.Values{}, after, limit), nil)
}

var errNoToken = errors.New("this is not an access token of a token broker")

// Token holds the values of an access token that a revocation can name. Its signature was not checked.
type Token struct {
	KID      string `json:"-"`
	JTI      string `json:"jti"`
	SID      string `json:"sid"`
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	SEP      *int64 `json:"sep"`
	CEP      *int64 `json:"cep"`
}

// tokenPart is a value of a kind; an event revokes it if the event's epoch is above made.
type tokenPart struct {
	kind  revocation.Kind
	value string
	made  int64
}

// ParseToken reads a compact JWS (RFC 7515 §3.1). Its errors do not show the text.
func ParseToken(text string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 3 {
		return Token{}, errNoToken
	}
	var header struct {
		KID string `json:"kid"`
	}
	var token Token
	for i, into := range []any{&header, &token} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return Token{}, errNoToken
		}
	}
	if token.JTI == "" || token.SEP == nil || token.CEP == nil {
		return Token{}, errNoToken
	}
	token.KID = header.KID
	return token, nil
}

// parts returns the token's values by kind. jti, sid and kid have no epochs.
func (t Token) parts() []tokenPart {
	return []tokenPart{
		{revocation.KindJTI, t.JTI, -1}, {revocation.KindSID, t.SID, -1}, {revocation.KindSub, t.Subject, *t.SEP},
		{revocation.KindClient, t.ClientID, *t.CEP}, {revocation.KindKID, t.KID, -1}, {revocation.KindAll, "", *t.SEP},
	}
}

// CheckToken returns what revokes any part of a token. The Kind of the result is "token".
func (c *Client) CheckToken(ctx context.Context, token Token) (operator.RevocationCheck, error) {
	check := operator.RevocationCheck{Kind: "token", Value: token.JTI, Events: []revocation.Recorded{}}
	for _, part := range token.parts() {
		if part.value == "" && part.kind != revocation.KindAll {
			continue
		}
		got, err := c.CheckRevocation(ctx, part.kind, part.value)
		if err != nil {
			return check, fmt.Errorf("checking: %w", err)
		}
		for _, e := range got.Events {
			// The answer for a sid also has the events of its user and client, which are asked for separately.
			if e.Kind == part.kind && e.Value == part.value && e.Epoch > part.made {
				check.Events = append(check.Events, e)
			}
		}
		if part.kind == revocation.KindSID {
			check.Session = got.Session
		}
	}
	check.Revoked = len(check.Events) > 0
	return check, nil
}
