package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"tokenbroker/broker"
)

// The error codes of RFC 6749 §5.2 and, for what is not the caller's fault, §4.1.2.1.
const (
	oauthInvalidRequest = "invalid_request"
	oauthInvalidClient  = "invalid_client"
	oauthUnavailable    = "temporarily_unavailable"
	oauthServerError    = "server_error"
)

// oauthError is a refusal in the form of RFC 6749 §5.2. The description is ours, and public.
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

// oauth answers the errors of f in the form of RFC 6749 §5.2, keeping the log's code.
func oauth(f endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := f(w, r)
		if err == nil {
			return nil
		}
		x := exchangeOf(r)
		var e *oauthError
		if !errors.As(err, &e) {
			e = oauthErrorOf(refusal(r, err))
		}
		x.code, x.cause = broker.Code(e.code), e.cause
		h := w.Header()
		switch e.status {
		case http.StatusUnauthorized:
			h.Set("WWW-Authenticate", basic)
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			h.Set("Retry-After", "1")
		}
		return writeJSON(w, e.status, map[string]string{"error": e.code, "error_description": e.description})
	}
}

// oauthErrorOf gives a refusal of the broker its OAuth code.
func oauthErrorOf(e *broker.Error) *oauthError {
	status := kinds[e.Code].status
	switch {
	case e.Code == broker.CodeInvalidClient:
		return &oauthError{status, oauthInvalidClient, "unknown client or wrong secret", e.Err}
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		return &oauthError{status, oauthUnavailable, "the broker cannot answer now; try again", e.Err}
	case e.Code == CodeClientClosed:
		return &oauthError{status, oauthInvalidRequest, "the request was given up", e.Err}
	}
	return &oauthError{http.StatusInternalServerError, oauthServerError, "the broker's log tells more under this request id", e}
}

// readForm reads a form of at most [maxBody] bytes. A parameter that comes twice is
// refused (RFC 6749 §3.1), and so is one in the query, which ends up in logs.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	sent := r.Header.Values("Content-Type")
	kind, _, err := mime.ParseMediaType(strings.Join(sent, ","))
	if len(sent) != 1 || err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, invalidRequest("want one Content-Type, application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, invalidRequest("want the parameters in the body, not in the query")
	}
	tooLarge := &oauthError{
		status: http.StatusRequestEntityTooLarge, code: oauthInvalidRequest,
		description: "the body may have " + strconv.Itoa(maxBody) + " bytes",
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
	case err != nil:
		return nil, invalidRequest("the body could not be read whole")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalidRequest("the body is not a form")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, invalidRequest("a parameter comes twice")
		}
		if !utf8.ValidString(name + values[0]) {
			return nil, invalidRequest("the body is not UTF-8")
		}
	}
	return form, nil
}

// clientOf is who the caller says it is, by one method and not two (RFC 6749 §2.3). By
// Basic both parts are form-encoded; text that is no such encoding is taken as it is, like
// everywhere else in this API.
func clientOf(r *http.Request, form url.Values) (id, secret string, err error) {
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 || len(headers) == 1 && form.Has("client_secret") {
		return "", "", invalidRequest("more than one client authentication")
	}
	if len(headers) == 1 {
		id, secret, ok := r.BasicAuth()
		if ok {
			id, secret = formDecoded(id), formDecoded(secret)
		}
		switch {
		case !ok || id == "":
			return "", "", &broker.Error{Code: broker.CodeInvalidClient}
		case form.Has("client_id") && form.Get("client_id") != id:
			return "", "", invalidRequest("client_id is not the client that authenticates")
		}
		return id, secret, nil
	}
	if id = form.Get("client_id"); id == "" || !form.Has("client_secret") {
		return "", "", &broker.Error{Code: broker.CodeInvalidClient}
	}
	return id, form.Get("client_secret"), nil
}

func formDecoded(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}
