package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/origin"
	"tokenbroker/broker"
)

type operatorKey struct{}

// WithOperator names the operator of every request with that context. The listener has
// authenticated the peer already, so the request needs neither a token nor an allowed Host. Only
// the unix socket's server calls it, in its ConnContext. An empty name means no operator.
func WithOperator(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, operatorKey{}, name)
}

// operatorOf returns the operator that [WithOperator] named, or "".
func operatorOf(r *http.Request) string {
	operator, _ := r.Context().Value(operatorKey{}).(string)
	return operator
}

// admit checks Host, Origin and bearer token. It returns the operator, which is "" on an open
// path of the TCP listener.
func (a *handler) admit(r *http.Request, route route) (operator string, err error) {
	operator = operatorOf(r)
	if operator == "" && !a.hosts[hostOf(r)] {
		return "", &broker.Error{Code: httpapi.CodeUnknownHost, Message: "this listener does not answer requests for this Host; an operator can add it to admin.hosts"}
	}
	if !ownOrigin(r) {
		return operator, &broker.Error{Code: httpapi.CodeForbiddenOrigin, Message: "pages of other sites may not call this listener"}
	}
	if operator != "" || route.open {
		return operator, nil
	}
	switch {
	case a.token.borne(r):
		return "token", nil
	case route.scraped && a.scraper.borne(r):
		return "metrics token", nil
	default:
		return "", &broker.Error{Code: httpapi.CodeUnauthorized, Message: "the admin token is missing or wrong; send it as the bearer token of the Authorization header"}
	}
}

// tokenHash is the hash of a bearer token, which also hides its length; nil means no token.
type tokenHash []byte

func hashOf(token string) tokenHash {
	if token == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// borne reports whether the request has the bearer token. It compares in constant time.
func (h tokenHash) borne(r *http.Request) bool {
	token := httpapi.BearerToken(r)
	if token == "" || h == nil {
		return false
	}
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], h) == 1
}

// ownOrigin reports whether the request has no Origin or the one that the Host header names.
// Operators' listeners have no CORS.
func ownOrigin(r *http.Request) bool {
	sent := r.Header.Values("Origin")
	if len(sent) == 0 {
		return true
	}
	u, err := origin.Parse(sent[0])
	return err == nil && len(sent) == 1 && origin.Of(u) == origin.Of(&url.URL{Scheme: u.Scheme, Host: r.Host})
}

// audit writes the audit line of a call or of a refusal. It has the route and never the path,
// which may name a user.
func (a *handler) audit(w http.ResponseWriter, r *http.Request, event string) {
	x := httpapi.EntryOf(r)
	// Without an answer, a panic is on its way.
	status := cmp.Or(httpapi.StatusOf(w), http.StatusInternalServerError)
	attrs := []slog.Attr{slog.String("event", event), slog.String("addr", x.Addr), slog.String("request_id", x.ID),
		slog.String("operator", x.Operator), slog.String("route", x.Route), slog.String("method", httpapi.KnownMethod(r.Method)), slog.Int("status", status)}
	if x.Code != "" {
		attrs = append(attrs, slog.String("code", string(x.Code)))
	}
	a.cfg.Audit.LogAttrs(r.Context(), slog.LevelInfo, "audit", attrs...)
	x.Audited = a.cfg.Audit.Enabled(r.Context(), slog.LevelInfo)
}

// auditCall audits a call that failed. One that succeeded has its own event, with the
// operator and the request's id: user_add, session_revoke, key_rotate and so on.
func (a *handler) auditCall(w http.ResponseWriter, r *http.Request) {
	if status := httpapi.StatusOf(w); status >= 200 && status < 300 {
		httpapi.EntryOf(r).Audited = a.cfg.Audit.Enabled(r.Context(), slog.LevelInfo)
		return
	}
	a.audit(w, r, "admin_call")
}

// hostOf returns the Host header in lower case without port and brackets.
func hostOf(r *http.Request) string {
	host := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}
