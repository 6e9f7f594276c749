package oauth

import (
	"errors"
	"net/http"
	"net/url"
	"unicode/utf8"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// The error codes of RFC 6749 §5.2 and, for what is not the caller's fault, §4.1.2.1.
const (
	oauthInvalidRequest = "invalid_request"
	oauthInvalidClient  = "invalid_client"
	oauthUnavailable    = "temporarily_unavailable"
	oauthServerError    = "server_error"
)

// oauthError is a refusal in the form of RFC 6749 §5.2. The description is public.
type oauthError struct {
	status      int
	code        string
	description string
	cause       error
}

func (e *oauthError) Error() string {
	if e.cause != nil {
		return e.code + ": " + e.description + ": " + e.cause.Error()
	}
	return e.code + ": " + e.description
}

func (e *oauthError) Unwrap() error { return e.cause }

func invalidRequest(description string) error {
	return &oauthError{status: http.StatusBadRequest, code: oauthInvalidRequest, description: description}
}

// oauthErrors answers the errors of f in the form of RFC 6749 §5.2, keeping the log's code.
func oauthErrors(f httpapi.Endpoint) httpapi.Endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := f(w, r)
		if err == nil {
			return nil
		}
		x := httpapi.EntryOf(r)
		var e *oauthError
		if !errors.As(err, &e) {
			e = oauthErrorOf(httpapi.Refusal(r, err))
		}
		x.Code, x.Cause = broker.Code(e.code), e.cause
		h := w.Header()
		switch e.status {
		case http.StatusUnauthorized:
			h.Set("WWW-Authenticate", httpapi.ChallengeBasic)
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			h.Set("Retry-After", "1")
		}
		return httpapi.WriteJSON(w, e.status, map[string]string{"error": e.code, "error_description": e.description})
	}
}

// oauthErrorOf returns the OAuth error for a refusal of the broker.
func oauthErrorOf(e *broker.Error) *oauthError {
	status := httpapi.Status(e.Code)
	switch {
	case e.Code == broker.CodeInvalidClient:
		return &oauthError{status, oauthInvalidClient, "unknown client or wrong secret", e.Err}
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		return &oauthError{status, oauthUnavailable, "the broker cannot answer now; try again", e.Err}
	case e.Code == httpapi.CodeBodyTooLarge || e.Code == httpapi.CodeInvalidBody:
		return &oauthError{status, oauthInvalidRequest, e.Message, e.Err}
	case e.Code == httpapi.CodeClientClosed:
		return &oauthError{status, oauthInvalidRequest, "the caller closed the request", e.Err}
	}
	return &oauthError{http.StatusInternalServerError, oauthServerError, "an internal error occurred; the broker's log has the details under this request id", e}
}

// readForm reads a form of at most [httpapi.MaxBody] bytes. A parameter that occurs twice is
// refused (RFC 6749 §3.1), and so is one in the query, which ends up in logs.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if kind, _ := httpapi.MediaType(r.Header); kind != "application/x-www-form-urlencoded" {
		return nil, invalidRequest("the request must have exactly one Content-Type, application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, invalidRequest("the parameters must be in the body, not in the query")
	}
	body, err := httpapi.ReadBody(w, r, httpapi.MaxBody)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalidRequest("the body is not a valid form")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, invalidRequest("a parameter occurs twice; send it once")
		}
		if !utf8.ValidString(name + values[0]) {
			return nil, invalidRequest("the body is not UTF-8")
		}
	}
	return form, nil
}

// clientOf returns the credentials of the caller, which come by one method and not by two
// (RFC 6749 §2.3): by Basic or in the form.
func clientOf(r *http.Request, form url.Values) (httpapi.Credentials, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 || len(headers) == 1 && form.Has("client_secret") {
		return httpapi.Credentials{}, invalidRequest("the client authenticates by more than one method; use Basic or the form")
	}
	if len(headers) == 1 {
		c, err := httpapi.BasicCredentials(r)
		if err == nil && form.Has("client_id") && form.Get("client_id") != c.ID {
			err = invalidRequest("client_id differs from the client that authenticates by Basic")
		}
		return c, err
	}
	id := form.Get("client_id")
	if id == "" || !form.Has("client_secret") {
		return httpapi.Credentials{}, &broker.Error{Code: broker.CodeInvalidClient}
	}
	return httpapi.Credentials{ID: id, Secrets: form["client_secret"]}, nil
}
