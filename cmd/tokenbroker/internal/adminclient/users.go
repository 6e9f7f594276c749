package adminclient

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"tokenbroker/broker"
)

const usersPath = "/admin/v1/users"

// UserPatch changes a user: each member that is not nil takes the place of the old one, an
// empty one takes all away.
type UserPatch struct {
	Attributes map[string]any `json:"attributes,omitzero"`
	Roles      []string       `json:"roles,omitzero"`
}

// note is the body of what takes an operator's words for the audit log and nothing else.
type note struct {
	Note string `json:"note,omitempty"`
}

// AddUser makes a local user: [broker.CodeUserExists] or [broker.CodeInvalidUser].
func (c *Client) AddUser(ctx context.Context, user broker.NewUser) (broker.UserInfo, error) {
	return ask[broker.UserInfo](ctx, c, http.MethodPost, usersPath, nil, user)
}

// User finds one by uid or local user name.
func (c *Client) User(ctx context.Context, ref string) (broker.UserInfo, error) {
	return ask[broker.UserInfo](ctx, c, http.MethodGet, userPath(ref, ""), nil, nil)
}

// ListUsers is one page.
func (c *Client) ListUsers(ctx context.Context, q broker.UserQuery) (broker.UserPage, error) {
	query := url.Values{}
	set(query, "match", q.Match)
	return ask[broker.UserPage](ctx, c, http.MethodGet, usersPath, paged(query, q.After, q.Limit), nil)
}

// UpdateUser replaces attributes, roles or both.
func (c *Client) UpdateUser(ctx context.Context, ref string, patch UserPatch) (broker.UserInfo, error) {
	return ask[broker.UserInfo](ctx, c, http.MethodPatch, userPath(ref, ""), nil, patch)
}

// SetPassword ends the user's sessions, too, unless keepSessions.
func (c *Client) SetPassword(ctx context.Context, ref, password string, keepSessions bool) (broker.Revoked, error) {
	body := struct {
		Password     string `json:"password"`
		KeepSessions bool   `json:"keep_sessions,omitempty"`
	}{password, keepSessions}
	return ask[broker.Revoked](ctx, c, http.MethodPost, userPath(ref, "/password"), nil, body)
}

// DisableUser ends the user's sessions and tokens everywhere and lets nobody in.
func (c *Client) DisableUser(ctx context.Context, ref, words string) (broker.Revoked, error) {
	return ask[broker.Revoked](ctx, c, http.MethodPost, userPath(ref, "/disable"), nil, note{words})
}

// EnableUser lets a disabled user sign in again.
func (c *Client) EnableUser(ctx context.Context, ref, words string) (broker.UserInfo, error) {
	return ask[broker.UserInfo](ctx, c, http.MethodPost, userPath(ref, "/enable"), nil, note{words})
}

// RemoveUser ends the user's sessions and tokens everywhere and forgets the user.
func (c *Client) RemoveUser(ctx context.Context, ref, words string) (broker.Revoked, error) {
	return ask[broker.Revoked](ctx, c, http.MethodDelete, userPath(ref, ""), nil, note{words})
}

func userPath(ref, what string) string { return usersPath + "/" + url.PathEscape(ref) + what }

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func paged(query url.Values, after string, limit int) url.Values {
	set(query, "after", after)
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	return query
}
