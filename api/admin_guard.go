package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/api/origin"
	"tokenbroker/broker"
)

type operatorKey struct{}

// WithOperator says who asks with every request of that context: a peer that the listener
// knows already, so neither a token nor an allowed Host is wanted of it. Only the unix
// socket's server sets it, by its ConnContext. An empty name is nobody.
func WithOperator(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, operatorKey{}, name)
}

// operatorOf is the operator that [WithOperator] named, or "".
func operatorOf(r *http.Request) string {
	operator, _ := r.Context().Value(operatorKey{}).(string)
	return operator
}

// admit is the guard: Host, Origin, bearer token. It returns who asks, which is nobody on
// an open path of the TCP listener.
func (a *admin) admit(r *http.Request, route adminRoute) (operator string, err error) {
	operator = operatorOf(r)
	if operator == "" && !a.hosts[hostOf(r)] {
		return "", &broker.Error{Code: CodeUnknownHost, Message: "this listener does not answer to that host"}
	}
	if !ownOrigin(r) {
		return operator, &broker.Error{Code: CodeForbiddenOrigin, Message: "no other site's page has business here"}
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
		return "", &broker.Error{Code: CodeUnauthorized, Message: "want the admin token as a bearer token"}
	}
}

// tokenHash is a bearer token's hash, which hides its length, too; nil is no token.
type tokenHash []byte

func hashOf(token string) tokenHash {
	if token == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// borne compares the request's bearer token in constant time.
func (h tokenHash) borne(r *http.Request) bool {
	token := bearerToken(r)
	if token == "" || h == nil {
		return false
	}
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], h) == 1
}

// ownOrigin is true without an Origin and for the one that the Host header names. There is
// no CORS here.
func ownOrigin(r *http.Request) bool {
	sent := r.Header.Values("Origin")
	if len(sent) == 0 {
		return true
	}
	u, err := origin.Parse(sent[0])
	return err == nil && len(sent) == 1 && origin.Of(u) == origin.Of(&url.URL{Scheme: u.Scheme, Host: r.Host})
}

// audit writes the line of a call or of a refusal: the route, never the path, in which a
// user may be named.
func (a *admin) audit(w http.ResponseWriter, r *http.Request, event string) {
	x := exchangeOf(r)
	status := http.StatusInternalServerError // nothing was answered: a panic is on its way
	if rec, ok := w.(*recorder); ok && rec.status != 0 {
		status = rec.status
	}
	attrs := []slog.Attr{slog.String("event", event), slog.String("addr", x.addr), slog.String("request_id", x.id),
		slog.String("operator", x.operator), slog.String("route", x.route), slog.String("method", knownMethod(r.Method)), slog.Int("status", status)}
	if x.code != "" {
		attrs = append(attrs, slog.String("code", string(x.code)))
	}
	a.cfg.Audit.LogAttrs(r.Context(), slog.LevelInfo, "audit", attrs...)
	x.audited = a.cfg.Audit.Enabled(r.Context(), slog.LevelInfo)
}

// auditCall audits a call that failed. One that succeeded has an event of its own, with the
// operator and the request's id: user_add, session_revoke, key_rotate and so on.
func (a *admin) auditCall(w http.ResponseWriter, r *http.Request) {
	if rec, ok := w.(*recorder); ok && rec.status >= 200 && rec.status < 300 {
		exchangeOf(r).audited = a.cfg.Audit.Enabled(r.Context(), slog.LevelInfo)
		return
	}
	a.audit(w, r, "admin_call")
}

// hostOf is the Host header in lower case without port and brackets.
func hostOf(r *http.Request) string {
	host := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}
