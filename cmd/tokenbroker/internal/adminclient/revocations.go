package adminclient

import (
	"context"
	"net/http"
	"net/url"

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

const revocationsPath = "/admin/v1/revocations"

// Revocation is what an operator revokes: everything of a user (Kind sub; Value a uid or a
// local user name) or of a client, one session (sid), one token (jti), or everything (Kind
// all, without a Value).
type Revocation struct {
	Kind  revocation.Kind `json:"kind"`
	Value string          `json:"value,omitempty"`
	// Reason is a stable code; the server's default is revoked.
	Reason revocation.Reason `json:"reason,omitempty"`
	Note   string            `json:"note,omitempty"`
}

// BulkRevocation is up to [broker.MaxBulkRevocation] values of one kind: jti, sid or sub.
type BulkRevocation struct {
	Kind   revocation.Kind   `json:"kind"`
	Values []string          `json:"values"`
	Reason revocation.Reason `json:"reason,omitempty"`
	Note   string            `json:"note,omitempty"`
}

// RevocationPage is one page of what is revoked now; Next is the After of the next one, or "".
type RevocationPage struct {
	Revocations []revocation.Event `json:"revocations"`
	Next        string             `json:"next,omitempty"`
}

// Revoke ends tokens with a reason of the operator's choice.
func (c *Client) Revoke(ctx context.Context, r Revocation) (broker.Revoked, error) {
	return ask[broker.Revoked](ctx, c, http.MethodPost, revocationsPath, nil, r)
}

// RevokeBulk revokes many at once; to ask again after an error is safe.
func (c *Client) RevokeBulk(ctx context.Context, r BulkRevocation) (broker.BulkRevoked, error) {
	return ask[broker.BulkRevoked](ctx, c, http.MethodPost, revocationsPath+"/bulk", nil, r)
}

// CheckRevocation asks what revokes a value; an empty kind tries all that have one.
func (c *Client) CheckRevocation(ctx context.Context, kind revocation.Kind, value string) (broker.RevocationCheck, error) {
	query := url.Values{}
	set(query, "kind", string(kind))
	set(query, "value", value)
	return ask[broker.RevocationCheck](ctx, c, http.MethodGet, revocationsPath+"/check", query, nil)
}

// ListRevocations is one page of the live revocations.
func (c *Client) ListRevocations(ctx context.Context, after string, limit int) (RevocationPage, error) {
	return ask[RevocationPage](ctx, c, http.MethodGet, revocationsPath, paged(url.Values{}, after, limit), nil)
}
