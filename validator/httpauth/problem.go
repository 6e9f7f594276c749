package httpauth

import (
	"encoding/json"
	"net/http"
	"strings"
)

// problem is one of this package's answers (RFC 9457). The code is stable, the title not.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`

	challenge  string
	retryAfter string
}

const realm = `Bearer realm="api"`

func unauthorized(code, title string) problem {
	return problem{
		Type: "about:blank", Title: title, Status: http.StatusUnauthorized, Code: code,
		challenge: realm + `, error="invalid_token", error_description="` + title + `"`,
	}
}

var (
	tokenExpired = unauthorized("token_expired", "The access token expired")
	tokenRevoked = unauthorized("token_revoked", "The access token was revoked")
	tokenInvalid = unauthorized("token_invalid", "The access token is invalid")

	// A request without a token gets no error code (RFC 6750 §3.1).
	tokenMissing = problem{
		Type: "about:blank", Title: "An access token is required", Status: http.StatusUnauthorized,
		Code: "token_missing", challenge: realm,
	}
	twoHeaders = problem{
		Type: "about:blank", Title: "More than one Authorization header", Status: http.StatusBadRequest,
		Code: "invalid_request", challenge: realm + `, error="invalid_request"`,
	}
	stale = problem{
		Type: "about:blank", Title: "Revocations are not known to be current; try again", Status: http.StatusServiceUnavailable,
		Code: "validator_stale", retryAfter: "1",
	}
	unavailable = problem{
		Type: "about:blank", Title: "The token could not be validated; try again", Status: http.StatusServiceUnavailable,
		Code: "validator_unavailable", retryAfter: "1",
	}
)

func insufficientScope(scopes []string) problem {
	return problem{
		Type: "about:blank", Title: "The access token lacks a scope", Status: http.StatusForbidden,
		Code:      "insufficient_scope",
		challenge: realm + `, error="insufficient_scope", scope="` + strings.Join(scopes, " ") + `"`,
	}
}

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	if p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone: nobody to tell
}
