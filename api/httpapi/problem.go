package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"tokenbroker/broker"
)

// The codes that this package adds to the broker's. They are also part of the API.
const (
	CodeTokenExpired         broker.Code = "token_expired"
	CodeTokenRevoked         broker.Code = "token_revoked"
	CodeTokenInvalid         broker.Code = "token_invalid"
	CodeUnsupportedMediaType broker.Code = "unsupported_media_type"
	CodeForbiddenOrigin      broker.Code = "forbidden_origin"
	CodeBodyTooLarge         broker.Code = "body_too_large"
	CodeInvalidBody          broker.Code = "invalid_body"
	CodeDuplicateCookie      broker.Code = "duplicate_cookie"
	CodeInvalidPosition      broker.Code = "invalid_position"
	CodeProtocolOutdated     broker.Code = "protocol_outdated"
	CodeNotFound             broker.Code = "not_found"
	CodeMethodNotAllowed     broker.Code = "method_not_allowed"
	CodeNotReady             broker.Code = "not_ready"
	CodeUnknownHost          broker.Code = "unknown_host"
	CodeUnauthorized         broker.Code = "unauthorized"
	CodeClientClosed         broker.Code = "client_closed_request"
	CodeInvalidReturn        broker.Code = "invalid_return_to"
	CodeRepeatedParameter    broker.Code = "repeated_parameter"
	CodeInvalidParameter     broker.Code = "invalid_parameter"
	CodeInvalidRotation      broker.Code = "invalid_rotation"
	CodeInvalidKEK           broker.Code = "invalid_kek"
)

// kind is what a code means in HTTP.
type kind struct {
	status int
	title  string
	// challenge is the WWW-Authenticate of a 401 (RFC 9110 §15.5.2).
	challenge string
}

// Values of WWW-Authenticate: for a missing token, an invalid token, a token that lacks a scope, and a client (RFC 6750 §3,
// RFC 7617 §2).
const (
	ChallengeBearer            = `Bearer realm="tokenbroker"`
	ChallengeInvalidToken      = `Bearer realm="tokenbroker", error="invalid_token"`
	ChallengeInsufficientScope = `Bearer realm="tokenbroker", error="insufficient_scope"`
	ChallengeBasic             = `Basic realm="tokenbroker", charset="UTF-8"`
)

// kinds is the only table from codes to HTTP.
var kinds = map[broker.Code]kind{
	broker.CodeInvalidCredentials: {401, "Wrong user name or password", ChallengeBearer},
	broker.CodeNoSession:          {401, "Not signed in", ChallengeBearer},
	broker.CodeWrongChannel:       {401, "Refresh token of another channel", ChallengeBearer},
	broker.CodeSessionEnded:       {401, "Session ended", ChallengeBearer},
	broker.CodeSessionRevoked:     {401, "Session revoked", ChallengeBearer},
	broker.CodeRefreshReused:      {401, "Refresh token used twice", ChallengeBearer},
	broker.CodeRefreshSuperseded:  {401, "Refresh token replaced", ChallengeBearer},
	broker.CodeGenerationAhead:    {401, "Refresh token is ahead of the store", ChallengeBearer},
	broker.CodeUserDisabled:       {401, "User disabled", ChallengeBearer},
	broker.CodeInvalidClient:      {401, "Unknown client or wrong secret", ChallengeBasic},
	broker.CodeUpstreamToken:      {401, "Upstream token invalid", ChallengeInvalidToken},
	broker.CodeTokenUsed:          {401, "Token exchanged before", ChallengeInvalidToken},
	broker.CodeIDTokenUnproven:    {401, "Not proven to be an id token", ChallengeInvalidToken},
	broker.CodeNonceInvalid:       {401, "Nonce of another browser", ChallengeInvalidToken},
	broker.CodeNonceUsed:          {401, "Nonce used before", ChallengeInvalidToken},
	broker.CodeProviderError:      {401, "The provider refused", ChallengeBearer},
	CodeTokenExpired:              {401, "Token expired", ChallengeInvalidToken},
	CodeTokenRevoked:              {401, "Token revoked", ChallengeInvalidToken},
	CodeTokenInvalid:              {401, "Token invalid", ChallengeInvalidToken},
	CodeUnauthorized:              {401, "Bearer token needed", ChallengeBearer},

	broker.CodeCSRF:                {403, "CSRF token missing or wrong", ""},
	CodeForbiddenOrigin:            {403, "Origin not allowed", ""},
	broker.CodeEmailNotVerified:    {403, "E-mail not verified", ""},
	broker.CodeExchangeDisabled:    {403, "Exchange disabled", ""},
	broker.CodeProfileTooLarge:     {403, "Profile too large", ""},
	broker.CodeProfileInvalid:      {403, "Profile invalid", ""},
	broker.CodeUpstreamExpired:     {410, "Upstream token expired", ""},
	broker.CodeNonceExpired:        {410, "Nonce expired", ""},
	broker.CodeSessionExpired:      {410, "Session expired", ""},
	broker.CodeTooManyAttempts:     {429, "Too many attempts", ""},
	broker.CodeTooManySessions:     {429, "Too many sessions opened", ""},
	broker.CodeTooManyReplays:      {429, "Refresh token presented too often", ""},
	CodeDuplicateCookie:            {400, "Two cookies of one name", ""},
	CodeInvalidBody:                {400, "Invalid body", ""},
	CodeInvalidReturn:              {400, "return_to not allowed", ""},
	CodeRepeatedParameter:          {400, "A parameter occurs twice", ""},
	CodeInvalidParameter:           {400, "Invalid parameter", ""},
	broker.CodeInvalidRequest:      {400, "Invalid request", ""},
	broker.CodeInvalidRedirect:     {400, "Unknown client or redirect URI", ""},
	broker.CodeInvalidUser:         {400, "Invalid user", ""},
	broker.CodeInvalidClientConfig: {400, "Invalid client configuration", ""},
	broker.CodeInvalidRevocation:   {400, "Invalid revocation", ""},
	CodeInvalidRotation:            {400, "Invalid rotation", ""},
	CodeInvalidKEK:                 {400, "KEK cannot be used", ""},
	broker.CodeLoginState:          {400, "Sign-in not started here", ""},
	broker.CodeLoginUsed:           {400, "Sign-in completed before", ""},
	broker.CodeUnknownProvider:     {404, "Unknown provider", ""},
	CodeInvalidPosition:            {400, "Invalid position", ""},
	CodeProtocolOutdated:           {406, "Protocol outdated", ""},
	CodeNotFound:                   {404, "Not found", ""},
	broker.CodeUnknownUser:         {404, "Unknown user", ""},
	broker.CodeUnknownSession:      {404, "Unknown session", ""},
	broker.CodeUnknownClient:       {404, "Unknown client", ""},
	broker.CodeUnknownKey:          {404, "Unknown key", ""},
	CodeMethodNotAllowed:           {405, "Method not allowed", ""},
	broker.CodeUserExists:          {409, "User exists", ""},
	broker.CodeClientExists:        {409, "Client exists", ""},
	CodeBodyTooLarge:               {413, "Body too large", ""},
	CodeUnsupportedMediaType:       {415, "Unsupported media type", ""},
	CodeUnknownHost:                {421, "Misdirected request", ""},
	CodeClientClosed:               {499, "Client closed the request", ""},
	broker.CodeClaimsFailed:        {500, "Claims cannot be computed", ""},
	broker.CodeInternal:            {500, "Internal error", ""},
	broker.CodeBusy:                {503, "Busy", ""},
	broker.CodeWritesRefused:       {503, "Writes refused", ""},
	broker.CodeUnavailable:         {503, "Unavailable", ""},
	broker.CodeUpstreamUnavailable: {503, "Provider unavailable", ""},
	CodeNotReady:                   {503, "Not ready", ""},
}

// Status returns the HTTP status of a code, or 0 for an unknown code.
func Status(code broker.Code) int { return kinds[code].status }

// NotFound returns the refusal of a path that does not exist.
func NotFound() error {
	return &broker.Error{Code: CodeNotFound, Message: "this path does not exist; correct the URL"}
}

// InvalidParameter returns the refusal of a query parameter.
func InvalidParameter(detail string) error {
	return &broker.Error{Code: CodeInvalidParameter, Message: detail}
}

// problem is the body of a refusal (RFC 9457 §3.1) with this API's extension members.
type problem struct {
	Type      string      `json:"type"`
	Title     string      `json:"title"`
	Status    int         `json:"status"`
	Detail    string      `json:"detail,omitempty"`
	Code      broker.Code `json:"code"`
	RequestID string      `json:"request_id,omitempty"`
	Checks    []Check     `json:"checks,omitempty"`
}

// Refusal returns the safe reason in err. An error that is not a [*broker.Error] stays internal.
func Refusal(r *http.Request, err error) *broker.Error {
	var e *broker.Error
	switch {
	case errors.Is(r.Context().Err(), context.Canceled):
		return &broker.Error{Code: CodeClientClosed, Err: err}
	case errors.As(err, &e):
		if _, known := kinds[e.Code]; known && e.Code != broker.CodeInternal {
			return e
		}
	case errors.Is(err, context.DeadlineExceeded):
		return &broker.Error{Code: broker.CodeUnavailable, Message: "the broker did not answer in time; try again", Err: err}
	}
	return &broker.Error{Code: broker.CodeInternal, Message: "an internal error occurred; the broker's log has the details under this request id", Err: err}
}

// Fail answers with the problem that err describes: with a page if the request's Accept prefers one
// and the listener has pages, and with problem+json otherwise.
func Fail(w http.ResponseWriter, r *http.Request, err error) { failWith(w, r, err, nil) }

func failWith(w http.ResponseWriter, r *http.Request, err error, checks []Check) {
	e := Refusal(r, err)
	x := EntryOf(r)
	x.Code, x.Cause = e.Code, e.Err

	SetRefusalHeaders(w, e)
	if x.home != nil {
		w.Header().Add("Vary", "Accept")
		if x.Page || PrefersHTML(r) {
			writeRefusalPage(w, r, x, e, checks)
			return
		}
	}
	k := kinds[e.Code]
	body, _ := json.Marshal(problem{ // strings, numbers and booleans: cannot fail
		Type: "urn:tokenbroker:problem:" + string(e.Code), Title: k.title, Status: k.status,
		Detail: e.Message, Code: e.Code, RequestID: x.ID, Checks: checks,
	})
	WriteBody(w, k.status, "application/problem+json", body)
}

// SetRefusalHeaders sets the headers of an answer that refuses a request: WWW-Authenticate, Retry-After and Cache-Control.
func SetRefusalHeaders(w http.ResponseWriter, e *broker.Error) {
	k, h := kinds[e.Code], w.Header()
	if k.challenge != "" {
		h.Set("WWW-Authenticate", k.challenge)
	}
	if k.status == http.StatusTooManyRequests || k.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.FormatInt(max(1, int64((e.RetryAfter+time.Second-1)/time.Second)), 10))
	}
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
}

// EndsSession reports whether err says that the session of the presented cookie is over or never was.
// After CodeRefreshSuperseded the session continues, and the browser may already have the newer
// cookie, which clearing would delete.
func EndsSession(r *http.Request, err error) bool {
	code := Refusal(r, err).Code
	status := Status(code)
	return (status == http.StatusUnauthorized || status == http.StatusGone) && code != broker.CodeRefreshSuperseded
}
