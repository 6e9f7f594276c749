package adminclient

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/httpclient"
)

// Readiness is the answer of /readyz?verbose of a server that is ready or degraded.
type Readiness struct {
	Status   string          `json:"status"` // ready or degraded
	Degraded []string        `json:"degraded,omitempty"`
	Checks   []httpapi.Check `json:"checks,omitempty"`
}

// Status returns the state of the server and its parts.
func (c *Client) Status(ctx context.Context) (admin.Status, error) {
	return ask[admin.Status](ctx, c, http.MethodGet, "/admin/v1/status", nil, nil)
}

// Ready returns the server's readiness. It needs no token. If the server is not ready, the error is a [*Problem]
// with [httpapi.CodeNotReady] and all checks.
func (c *Client) Ready(ctx context.Context) (Readiness, error) {
	return ask[Readiness](ctx, c, http.MethodGet, "/readyz", url.Values{"verbose": {""}}, nil)
}

// CheckURL sends a GET to target, without a token, and returns the status of the answer if it is a 2xx.
func CheckURL(ctx context.Context, target string) (status int, err error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return 0, fmt.Errorf("%w: --url: want http:// or https:// with a host, and no user", terminal.ErrUsage)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, fmt.Errorf("making the request: %w", err)
	}
	resp, err := httpclient.New(&http.Transport{DisableKeepAlives: true}, 0).Do(req)
	if err != nil {
		return 0, fmt.Errorf("not healthy: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return 0, fmt.Errorf("not healthy: %s answered %d %s", terminal.Plain(target), resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return resp.StatusCode, nil
}
