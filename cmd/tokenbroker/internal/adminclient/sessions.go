package adminclient

import (
	"context"
	"net/http"
	"net/url"

	"tokenbroker/api"
	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// Revocation is what an operator revokes: everything of a user (Kind sub; Value a uid or a
// local user name) or one session (Kind sid).
type Revocation struct {
	Kind  revocation.Kind `json:"kind"`
	Value string          `json:"value"`
	// Reason is a stable code; the server's default is revoked.
	Reason revocation.Reason `json:"reason,omitempty"`
	Note   string            `json:"note,omitempty"`
}

// RevocationPage is one page of what is revoked now; Next is the After of the next one, or "".
type RevocationPage struct {
	Revocations []revocation.Event `json:"revocations"`
	Next        string             `json:"next,omitempty"`
}

// Readiness is the answer of /readyz?verbose when the server serves.
type Readiness struct {
	Status   string      `json:"status"` // ready or degraded
	Degraded []string    `json:"degraded,omitempty"`
	Checks   []api.Check `json:"checks,omitempty"`
}

// ListSessions is one page.
func (c *Client) ListSessions(ctx context.Context, q broker.SessionQuery) (broker.SessionPage, error) {
	query := url.Values{}
	set(query, "user", q.User)
	if q.Ended {
		query.Set("ended", "true")
	}
	return ask[broker.SessionPage](ctx, c, http.MethodGet, "/admin/v1/sessions", paged(query, q.After, q.Limit), nil)
}

// EndSession ends one session and its tokens everywhere.
func (c *Client) EndSession(ctx context.Context, sid, words string) (broker.Revoked, error) {
	return ask[broker.Revoked](ctx, c, http.MethodDelete, "/admin/v1/sessions/"+url.PathEscape(sid), nil, note{words})
}

// Revoke ends tokens with a reason of the operator's choice.
func (c *Client) Revoke(ctx context.Context, r Revocation) (broker.Revoked, error) {
	return ask[broker.Revoked](ctx, c, http.MethodPost, "/admin/v1/revocations", nil, r)
}

// ListRevocations is one page of the live revocations.
func (c *Client) ListRevocations(ctx context.Context, after string, limit int) (RevocationPage, error) {
	return ask[RevocationPage](ctx, c, http.MethodGet, "/admin/v1/revocations", paged(url.Values{}, after, limit), nil)
}

// Status is the server at a glance.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return ask[api.Status](ctx, c, http.MethodGet, "/admin/v1/status", nil, nil)
}

// Ready asks whether the server serves; no token is needed. When it does not, the error is
// a [*Problem] with [api.CodeNotReady] and all checks.
func (c *Client) Ready(ctx context.Context) (Readiness, error) {
	return ask[Readiness](ctx, c, http.MethodGet, "/readyz", url.Values{"verbose": {""}}, nil)
}
