package adminclient

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"tokenbroker/api"
	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Problem is the server's refusal (RFC 9457).
type Problem struct {
	Status int
	// Code is stable; "" when what answered does not speak this API.
	Code   broker.Code
	Detail string
	// RequestID finds the request in the server's log.
	RequestID string
	// Checks come with [api.CodeNotReady].
	Checks []api.Check
	// hint is what the client adds.
	hint string
}

// Error says it in one line without control characters.
func (p *Problem) Error() string {
	if p.Code == "" {
		return fmt.Sprintf("the server answered %d %s%s", p.Status, http.StatusText(p.Status), p.hint)
	}
	text := terminal.Plain(string(p.Code))
	if p.Detail != "" {
		text += ": " + terminal.Plain(p.Detail)
	}
	if p.Status >= http.StatusInternalServerError && p.RequestID != "" {
		text += " (request " + terminal.Plain(p.RequestID) + ")"
	}
	return text + p.hint
}

// problem reads the refusal of resp.
func (c *Client) problem(resp *http.Response, body []byte) error {
	p := &Problem{Status: resp.StatusCode}
	var wire struct {
		Code      broker.Code `json:"code"`
		Detail    string      `json:"detail"`
		RequestID string      `json:"request_id"`
		Checks    []api.Check `json:"checks"`
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err == nil && mediaType == "application/problem+json" && json.Unmarshal(body, &wire) == nil {
		p.Code, p.Detail, p.RequestID, p.Checks = wire.Code, wire.Detail, wire.RequestID, wire.Checks
	}
	switch {
	case p.Code == "":
		p.hint = ": is " + c.target + " the admin address of a token broker?"
	case p.Code == api.CodeUnauthorized && c.token == "" && !strings.HasPrefix(c.target, "unix:"):
		p.hint = "; name the token's file with --admin-token-file or " + EnvTokenFile
	case p.Code == api.CodeUnauthorized:
		p.hint = "; asked " + c.target
	}
	return p
}
