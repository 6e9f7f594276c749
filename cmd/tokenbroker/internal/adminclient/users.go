package adminclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

const usersPath = "/admin/v1/users"

// UserPatch changes a user: each member that is not nil replaces the old value; an empty one removes it.
type UserPatch struct {
	Attributes map[string]any `json:"attributes,omitzero"`
	Roles      []string       `json:"roles,omitzero"`
}

// note is the body of a request that has only a note for the audit log.
type note struct {
	Note string `json:"note,omitempty"`
}

// AddUser adds a local user. The code of a refusal is [broker.CodeUserExists] or [broker.CodeInvalidUser].
func (c *Client) AddUser(ctx context.Context, user operator.NewUser) (operator.UserInfo, error) {
	return ask[operator.UserInfo](ctx, c, http.MethodPost, usersPath, nil, user)
}

// User returns the user with a uid or local user name.
func (c *Client) User(ctx context.Context, ref string) (operator.UserInfo, error) {
	return ask[operator.UserInfo](ctx, c, http.MethodGet, userPath(ref, ""), nil, nil)
}

// ListUsers returns one page of users.
func (c *Client) ListUsers(ctx context.Context, q operator.UserQuery) (operator.UserPage, error) {
	query := url.Values{}
	set(query, "match", q.Match)
	return ask[operator.UserPage](ctx, c, http.MethodGet, usersPath, paged(query, q.After, q.Limit), nil)
}

// UpdateUser replaces attributes, roles or both.
func (c *Client) UpdateUser(ctx context.Context, ref string, patch UserPatch) (operator.UserInfo, error) {
	return ask[operator.UserInfo](ctx, c, http.MethodPatch, userPath(ref, ""), nil, patch)
}

// ChangedAttributes returns the attributes that the user has after a change of some of them: the server
// replaces attributes as a whole. Of two such changes at once, one may undo the other.
func (c *Client) ChangedAttributes(ctx context.Context, ref string, set map[string]any, unset []string) (map[string]any, error) {
	user, err := c.User(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("reading the user's attributes: %w", err)
	}
	attributes := make(map[string]any, len(user.Attributes)+len(set))
	maps.Copy(attributes, user.Attributes)
	maps.Copy(attributes, set)
	for _, name := range unset {
		delete(attributes, name)
	}
	return attributes, nil
}

// SetPassword sets the user's password, and ends the user's sessions unless keepSessions is set.
func (c *Client) SetPassword(ctx context.Context, ref, password string, keepSessions bool) (operator.Revoked, error) {
	body := struct {
		Password     string `json:"password"`
		KeepSessions bool   `json:"keep_sessions,omitempty"`
	}{password, keepSessions}
	return ask[operator.Revoked](ctx, c, http.MethodPost, userPath(ref, "/password"), nil, body)
}

// DisableUser ends the user's sessions and tokens, and refuses sign-ins as that user.
func (c *Client) DisableUser(ctx context.Context, ref, words string) (operator.Revoked, error) {
	return ask[operator.Revoked](ctx, c, http.MethodPost, userPath(ref, "/disable"), nil, note{words})
}

// EnableUser lets a disabled user sign in again.
func (c *Client) EnableUser(ctx context.Context, ref, words string) (operator.UserInfo, error) {
	return ask[operator.UserInfo](ctx, c, http.MethodPost, userPath(ref, "/enable"), nil, note{words})
}

// RemoveUser removes the user, and ends the user's sessions and tokens.
func (c *Client) RemoveUser(ctx context.Context, ref, words string) (operator.Revoked, error) {
	return ask[operator.Revoked](ctx, c, http.MethodDelete, userPath(ref, ""), nil, note{words})
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

// ListSessions returns one page of sessions.
func (c *Client) ListSessions(ctx context.Context, q operator.SessionQuery) (operator.SessionPage, error) {
	query := url.Values{}
	set(query, "user", q.User)
	if q.Ended {
		query.Set("ended", "true")
	}
	return ask[operator.SessionPage](ctx, c, http.MethodGet, "/admin/v1/sessions", paged(query, q.After, q.Limit), nil)
}

// EndSession ends one session and its tokens.
func (c *Client) EndSession(ctx context.Context, sid, words string) (operator.Revoked, error) {
	return ask[operator.Revoked](ctx, c, http.MethodDelete, "/admin/v1/sessions/"+url.PathEscape(sid), nil, note{words})
}

// ParseAttributes parses values of --attribute, NAME=VALUE. It returns nil if there are none. Errors do not show
// the values.
func ParseAttributes(given []string) (map[string]any, error) {
	if len(given) == 0 {
		return nil, nil
	}
	attributes := make(map[string]any, len(given))
	for _, g := range given {
		name, text, ok := strings.Cut(g, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: --attribute: want NAME=VALUE", terminal.ErrUsage)
		}
		if _, twice := attributes[name]; twice {
			return nil, fmt.Errorf("%w: --attribute %s is given twice", terminal.ErrUsage, name)
		}
		attributes[name] = attributeValue(text)
	}
	return attributes, nil
}

// attributeValue returns the JSON value that text is, with its numbers as written, or text itself.
func attributeValue(text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return text
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return text
	}
	return value
}

// AttributeText returns a value in the form that --attribute accepts.
func AttributeText(value any) string {
	if text, ok := value.(string); ok {
		if _, same := attributeValue(text).(string); same {
			return terminal.Plain(text)
		}
	}
	body, err := terminal.Document(value)
	var line bytes.Buffer
	if err != nil || json.Compact(&line, body) != nil {
		return "?"
	}
	return strings.TrimSpace(line.String())
}
