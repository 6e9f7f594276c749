package oauth

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// The error codes of RFC 6749 §4.1.2.1 for what is not the caller's fault.
const (
	oauthUnavailable broker.Code = "temporarily_unavailable"
	oauthServerError broker.Code = "server_error"
)

// clientCodes are the refusals that clients see under their own code, with their status.
var clientCodes = map[broker.Code]int{
	broker.CodeInvalidRequest: 400, broker.CodeInvalidGrant: 400, broker.CodeUnauthorizedClient: 400, broker.CodeUnsupportedGrantType: 400,
	broker.CodeUnsupportedTokenType: 400, broker.CodeInvalidScope: 400, broker.CodeInvalidTarget: 400, broker.CodeInvalidClient: 401,
	broker.CodeInvalidRedirectURI: 400, broker.CodeInvalidClientMetadata: 400, broker.CodeUnapprovedSoftware: 400,
	broker.CodeInvalidToken: 401, broker.CodeInsufficientScope: 403,
}

// oauthError is a refusal in the form of RFC 6749 §5.2. The description is public.
type oauthError struct {
	status      int
	code        broker.Code
	description string
	retryAfter  time.Duration
	cause       error
}

func (e *oauthError) Error() string {
	if e.cause != nil {
		return string(e.code) + ": " + e.description + ": " + e.cause.Error()
	}
	return string(e.code) + ": " + e.description
}

func (e *oauthError) Unwrap() error { return e.cause }

func invalidRequest(description string) error {
	return &oauthError{status: http.StatusBadRequest, code: broker.CodeInvalidRequest, description: description}
}

// clientErrors answers the errors of f in the form of RFC 6749 §5.2, and lets pages of clients read them. The challenge of a 401
// is only for clients that sent the header Authorization: to a page it would make the browser ask for a password.
func (h *Handler) clientErrors(f httpapi.Endpoint) httpapi.Endpoint {
	return h.forPages(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Pragma", "no-cache")
		err := f(w, r)
		if err == nil {
			return nil
		}
		e := refusalOf(r, err)
		if e.status == http.StatusUnauthorized && len(r.Header.Values("Authorization")) > 0 {
			w.Header().Set("WWW-Authenticate", httpapi.ChallengeBasic)
		}
		h.letAnyClientRead(w, r)
		return writeError(w, r, e)
	})
}

// introspectionErrors answers the errors of f in the form of RFC 6749 §5.2.
func introspectionErrors(f httpapi.Endpoint) httpapi.Endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := f(w, r)
		if err == nil {
			return nil
		}
		e := refusalOf(r, err)
		if e.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", httpapi.ChallengeBasic)
		}
		return writeError(w, r, e)
	}
}

// writeError answers with e, keeping the log's code.
func writeError(w http.ResponseWriter, r *http.Request, e *oauthError) error {
	x := httpapi.EntryOf(r)
	x.Code, x.Cause = e.code, e.cause
	if e.status == http.StatusServiceUnavailable || e.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.FormatInt(max(1, int64((e.retryAfter+time.Second-1)/time.Second)), 10))
	}
	return httpapi.WriteJSON(w, e.status, struct {
		Error       broker.Code `json:"error"`
		Description string      `json:"error_description,omitempty"`
	}{e.code, plainText(e.description)})
}

// plainText returns text with only the characters that error_description may have (RFC 6749 §5.2).
func plainText(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c < ' ' || c > '~' || c == '\\':
			return '?'
		}
		return c
	}, text)
}

// refusalOf returns the OAuth error for an error of an endpoint. A refusal of the broker that has no code of OAuth is an
// invalid grant.
func refusalOf(r *http.Request, err error) *oauthError {
	var own *oauthError
	if errors.As(err, &own) {
		return own
	}
	var refused *broker.Error
	if errors.As(err, &refused) {
		if status := clientCodes[refused.Code]; status != 0 {
			if refused.Code == broker.CodeInvalidClient {
				return &oauthError{status: status, code: refused.Code, description: "unknown client or wrong secret", cause: refused.Err}
			}
			return &oauthError{status: status, code: refused.Code, description: refused.Message, cause: refused.Err}
		}
	}
	e := httpapi.Refusal(r, err)
	status := httpapi.Status(e.Code)
	switch {
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		return &oauthError{status, oauthUnavailable, "the broker cannot answer now; try again", e.RetryAfter, e.Err}
	case e.Code == httpapi.CodeBodyTooLarge || e.Code == httpapi.CodeInvalidBody:
		return &oauthError{status: status, code: broker.CodeInvalidRequest, description: e.Message, cause: e.Err}
	case e.Code == httpapi.CodeClientClosed:
		return &oauthError{status: status, code: broker.CodeInvalidRequest, description: "the caller closed the request", cause: e.Err}
	case status >= 400 && status < 500:
		return &oauthError{status: http.StatusBadRequest, code: broker.CodeInvalidGrant, description: e.Message, cause: e}
	}
	return &oauthError{
		status: http.StatusInternalServerError, code: oauthServerError,
		description: "an internal error occurred; the broker's log has the details under this request id", cause: e,
	}
}
