package httpauth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tokenbroker/validator"
)

// Reasons for refusals in addition to the errors of [validator.Validator.Validate]. [OnRefused]
// receives them; compare with errors.Is.
var (
	// ErrTokenMissing means that the Authorization header is missing, its scheme is not Bearer, or
	// it has no token.
	ErrTokenMissing = errors.New("no bearer token in the Authorization header")
	// ErrInvalidRequest: the request has more than one Authorization header.
	ErrInvalidRequest = errors.New("more than one Authorization header")
	// ErrInsufficientScope means that a valid token lacks a scope that the route requires.
	ErrInsufficientScope = errors.New("insufficient scope")
	// ErrForbiddenOrigin means that a browser sent a pre-flight from an origin that is not allowed.
	ErrForbiddenOrigin = errors.New("origin not allowed")
)

// For each reason, lineBurst refusals are logged without delay, then one per lineEvery.
const (
	lineBurst = 3
	lineEvery = 10 * time.Second
	maxReason = 512 // bytes
	maxPath   = 128
)

// Logger sets the logger to which [Require] reports refusals. Without this option it is
// [slog.Default]; if l is nil, nothing is logged. A line has the code of the answer, the reason
// with the claim that does not fit, the path without the query, and the number of refusals for
// that reason that were not logged since the last line: for each reason, up to three refusals are
// logged without delay and then one in ten seconds. Values of the token are bounded and quoted;
// no line contains the token itself. Expired, revoked and missing tokens, and clients that
// disconnected, are logged at level Info, all others at Warn.
func Logger(l *slog.Logger) Option {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return func(g *guard) { g.reports.log = l }
}

// OnRefused sets a function that is called for each request that [Require] or a handler inside it
// refuses, before the request is answered, in the request's goroutine. By errors.Is, err is one
// of the errors of this package or of package validator; it may wrap a [*validator.Mismatch]. f
// must not retain r.
func OnRefused(f func(r *http.Request, err error)) Option {
	return func(g *guard) { g.reports.hook = f }
}

// Refused reports that a handler refused a request, for example because of the token's roles, to
// the log and the [OnRefused] function of the [Require] around the handler. It writes no answer.
func Refused(r *http.Request, err error) {
	g, ok := r.Context().Value(reportsKey{}).(*reports)
	if !ok {
		g = &unguarded
	}
	g.refused(r, "", err)
}

// reports reports the refusals of one Require.
type reports struct {
	log  *slog.Logger // if nil, slog.Default is used
	hook func(*http.Request, error)

	mu    sync.Mutex
	lines map[string]*line // by code and field, which only this module names; mu guards it
}

// line counts the logged and the suppressed lines of one reason.
type line struct {
	limit *rate.Limiter
	held  int
}

type reportsKey struct{}

// unguarded receives the reports of handlers that are not inside Require.
var unguarded reports

// within returns a context in which [Refused] finds the reports.
func (p *reports) within(ctx context.Context) context.Context {
	return context.WithValue(ctx, reportsKey{}, p)
}

func (p *reports) refused(r *http.Request, code string, err error) {
	if p.hook != nil {
		p.hook(r, err)
	}
	log := p.log
	if log == nil {
		log = slog.Default()
	}
	level := levelOf(err)
	if !log.Enabled(r.Context(), level) {
		return
	}
	held, now := p.due(code, err)
	if !now {
		return
	}
	attrs := []slog.Attr{
		slog.String("code", code), slog.String("reason", cut(err.Error(), maxReason)),
		slog.String("method", cut(r.Method, maxPath)), slog.String("path", cut(r.URL.EscapedPath(), maxPath)),
	}
	if code == "" {
		attrs = attrs[1:]
	}
	if held > 0 {
		attrs = append(attrs, slog.Int("not_logged", held))
	}
	log.LogAttrs(r.Context(), level, "request refused", attrs...)
}

// due reports whether a line may be written now, and how many refusals for that reason were not
// logged since the last line.
func (p *reports) due(code string, err error) (held int, now bool) {
	key := code
	var m *validator.Mismatch
	if errors.As(err, &m) {
		key += " " + m.Field
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lines == nil {
		p.lines = make(map[string]*line)
	}
	l := p.lines[key]
	if l == nil {
		l = &line{limit: rate.NewLimiter(rate.Every(lineEvery), lineBurst)}
		p.lines[key] = l
	}
	if !l.limit.Allow() {
		l.held++
		return 0, false
	}
	held, l.held = l.held, 0
	return held, true
}

// levelOf returns the level of a refusal. Refusals that happen to every client are not warnings.
func levelOf(err error) slog.Level {
	for _, usual := range []error{validator.ErrExpired, validator.ErrRevoked, ErrTokenMissing, context.Canceled} {
		if errors.Is(err, usual) {
			return slog.LevelInfo
		}
	}
	return slog.LevelWarn
}

func cut(text string, limit int) string {
	if len(text) > limit {
		return text[:limit] + "..."
	}
	return text
}

// problem is one of this package's error responses (RFC 9457). The code is stable, the title is not.
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

// write answers a request; challenge is the WWW-Authenticate header, if not empty.
func (p *problem) write(w http.ResponseWriter, challenge string) {
	h := w.Header()
	if challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // an error says that the client has gone
}
