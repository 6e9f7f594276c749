package adminclient

import (
	"context"
	"net/http"
	"net/url"

	"tokenbroker/api"
	"tokenbroker/broker"
)

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

// Status is the server at a glance.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return ask[api.Status](ctx, c, http.MethodGet, "/admin/v1/status", nil, nil)
}

// Ready asks whether the server serves; no token is needed. When it does not, the error is
// a [*Problem] with [api.CodeNotReady] and all checks.
func (c *Client) Ready(ctx context.Context) (Readiness, error) {
	return ask[Readiness](ctx, c, http.MethodGet, "/readyz", url.Values{"verbose": {""}}, nil)
}
