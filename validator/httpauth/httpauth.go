// Package httpauth protects net/http handlers with access tokens:
//
//	protect := httpauth.Require(v, httpauth.Scope("orders:read"))
//	mux.Handle("GET /orders", protect(orders))
//
// The handler finds the token's claims with [validator.FromContext].
package httpauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tokenbroker/validator"
)

// Validator decides about tokens; [*validator.Validator] is one.
type Validator interface {
	Validate(ctx context.Context, token string, options ...validator.Option) (*validator.Claims, error)
}

var _ Validator = (*validator.Validator)(nil)

// Option configures [Require].
type Option func(*guard)

// Scope requires that the token has all of the scopes. It panics if one is not a valid scope
// (RFC 6749 §3.3).
func Scope(scopes ...string) Option {
	for _, s := range scopes {
		if !isScope(s) {
			panic("httpauth: not a scope: " + s)
		}
	}
	return func(g *guard) { g.scopes = append(g.scopes, scopes...) }
}

func isScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// MaxStaleness requires for this route that the knowledge of revocations is no older than d,
// if that is stricter than the Validator's own bound; see [validator.MaxStaleness]. It panics
// if d is not positive.
func MaxStaleness(d time.Duration) Option {
	if d <= 0 {
		panic("httpauth: MaxStaleness must be positive: " + d.String())
	}
	return func(g *guard) { g.validation = append(g.validation, validator.MaxStaleness(d)) }
}

// AllowOrigins lets browsers call from these origins ("https://app.example.com", or "*"
// for any; tokens travel in a header, so no cookie is at stake). Pre-flight requests are
// answered before authentication, and errors also carry the CORS headers. A pattern with a
// method ("GET /orders") does not let the pre-flight's OPTIONS through to the middleware:
// wrap the mux instead, or register the path without a method.
func AllowOrigins(origins ...string) Option {
	return func(g *guard) { g.origins = append(g.origins, origins...) }
}

// AllowOriginFunc lets browsers call from the origins for which allowed returns true, in addition
// to those of [AllowOrigins]. It is called with the Origin header as the browser sent it, and must
// not block.
func AllowOriginFunc(allowed func(origin string) bool) Option {
	return func(g *guard) { g.allowed = allowed }
}

type guard struct {
	validator  Validator
	validation []validator.Option
	scopes     []string
	origins    []string
	allowed    func(origin string) bool // if nil, only origins are allowed
	metadata   string                   // the URL of the resource's metadata; empty without ProtectedResource
	forbidden  problem
	reports    reports
}

// Require returns a middleware that lets a request pass when its Authorization header
// (RFC 6750 §2.1; never the query or the body) carries a good token with the scopes asked
// for. Otherwise it answers with an RFC 9457 problem:
//
//	400  invalid_request: more than one Authorization header
//	401  token_missing, token_expired, token_revoked, token_invalid
//	403  insufficient_scope
//	503  validator_stale, with Retry-After: tokens cannot be judged now
//
// 400, 401 and 403 have the WWW-Authenticate header of RFC 6750 §3; see also [ProtectedResource]. The answer does not contain
// the detailed reason, which is only for the service; see [Logger] and [OnRefused].
func Require(v Validator, options ...Option) func(http.Handler) http.Handler {
	g := &guard{validator: v}
	for _, option := range options {
		option(g)
	}
	g.forbidden = insufficientScope(g.scopes)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g.cors(w, r) {
				return
			}
			claims, refused, err := g.check(r)
			if err != nil {
				g.reports.refused(r, refused.Code, err)
				refused.write(w, g.challenge(refused))
				return
			}
			next.ServeHTTP(w, r.WithContext(validator.NewContext(g.reports.within(r.Context()), claims)))
		})
	}
}

// check returns the claims of a valid token, or the answer to send and the reason.
func (g *guard) check(r *http.Request) (*validator.Claims, *problem, error) {
	headers := r.Header["Authorization"]
	if len(headers) > 1 {
		return nil, &twoHeaders, ErrInvalidRequest
	}
	token := ""
	if len(headers) == 1 {
		token = bearer(headers[0])
	}
	if token == "" {
		return nil, &tokenMissing, ErrTokenMissing
	}
	claims, err := g.validator.Validate(r.Context(), token, g.validation...)
	if err != nil {
		return nil, problemOf(err), err
	}
	for _, s := range g.scopes {
		if !claims.HasScope(s) {
			return nil, &g.forbidden, fmt.Errorf("%w: %w", ErrInsufficientScope,
				validator.NewMismatch("scope", s, strings.Fields(claims.Scope)...))
		}
	}
	return claims, nil, nil
}

// bearer returns the token of an Authorization header, or "" if its scheme is not Bearer.
// Schemes are case-insensitive (RFC 9110 §11.1).
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(token, " ")
}

func problemOf(err error) *problem {
	switch {
	case errors.Is(err, validator.ErrStale):
		return &stale
	case errors.Is(err, validator.ErrExpired):
		return &tokenExpired
	case errors.Is(err, validator.ErrRevoked):
		return &tokenRevoked
	case errors.Is(err, validator.ErrInvalid):
		return &tokenInvalid
	default:
		return &unavailable // the request was cancelled
	}
}

// cors sets the headers that let an allowed origin read the answer, and answers a
// pre-flight itself: browsers send it without a token. It reports whether the request is
// answered. Without [AllowOrigins] and [AllowOriginFunc] it does nothing.
func (g *guard) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(g.origins) == 0 && g.allowed == nil {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	allowed := ""
	switch {
	case origin == "":
		return false
	case slices.Contains(g.origins, "*"):
		allowed = "*"
	case slices.Contains(g.origins, origin), g.allowed != nil && g.allowed(origin):
		allowed = origin
	}
	if allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
	}
	method := r.Header.Get("Access-Control-Request-Method")
	if r.Method != http.MethodOptions || method == "" {
		return false
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if allowed != "" {
		h.Set("Access-Control-Allow-Methods", method)
		if headers := strings.Join(r.Header.Values("Access-Control-Request-Headers"), ", "); headers != "" {
			h.Set("Access-Control-Allow-Headers", headers)
		}
		h.Set("Access-Control-Max-Age", "600")
	} else {
		g.reports.refused(r, "forbidden_origin", fmt.Errorf("%w: add %q to AllowOrigins if it is yours", ErrForbiddenOrigin, cut(origin, maxPath)))
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
