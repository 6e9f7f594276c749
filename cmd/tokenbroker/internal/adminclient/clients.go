package adminclient

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"tokenbroker/broker/operator"
)

const clientsPath = "/admin/v1/clients"

// AddClient adds an OAuth client. The code of a refusal is [broker.CodeClientExists] or [broker.CodeInvalidClientConfig].
func (c *Client) AddClient(ctx context.Context, client operator.NewClient) (operator.ClientSecret, error) {
	return ask[operator.ClientSecret](ctx, c, http.MethodPost, clientsPath, nil, client)
}

// OAuthClient returns the OAuth client with that id.
func (c *Client) OAuthClient(ctx context.Context, id string) (operator.ClientInfo, error) {
	return ask[operator.ClientInfo](ctx, c, http.MethodGet, clientPath(id, ""), nil, nil)
}

// ListClients returns one page of OAuth clients.
func (c *Client) ListClients(ctx context.Context, q operator.ClientQuery) (operator.ClientPage, error) {
	return ask[operator.ClientPage](ctx, c, http.MethodGet, clientsPath, paged(url.Values{}, q.After, q.Limit), nil)
}

// UpdateClient changes the members of an OAuth client that are not nil.
func (c *Client) UpdateClient(ctx context.Context, id string, change operator.ClientSettings) (operator.ClientInfo, error) {
	return ask[operator.ClientInfo](ctx, c, http.MethodPatch, clientPath(id, ""), nil, change)
}

// RotateClientSecret gives an OAuth client a new secret. The present one stays valid for overlap.
func (c *Client) RotateClientSecret(ctx context.Context, id string, overlap time.Duration, words string) (operator.ClientSecret, error) {
	body := struct {
		Overlap string `json:"overlap"`
		Note    string `json:"note,omitempty"`
	}{overlap.String(), words}
	return ask[operator.ClientSecret](ctx, c, http.MethodPost, clientPath(id, "/secret"), nil, body)
}

// RemoveClient removes an OAuth client, and ends its sessions and tokens.
func (c *Client) RemoveClient(ctx context.Context, id, words string) (operator.Revoked, error) {
	return ask[operator.Revoked](ctx, c, http.MethodDelete, clientPath(id, ""), nil, note{words})
}

func clientPath(id, what string) string { return clientsPath + "/" + url.PathEscape(id) + what }
