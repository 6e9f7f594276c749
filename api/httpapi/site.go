package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"tokenbroker/api/look"
	"tokenbroker/api/origin"
	"tokenbroker/broker"
)

// SiteConfig describes the origins of the broker and its SPAs.
type SiteConfig struct {
	// Issuer is the broker's own URL as its tokens name it. Its origin is the own origin.
	Issuer string
	// Origins are those of the SPAs, "https://app.example.com". Each must be same-site with
	// the issuer, because browsers do not send the SameSite=Strict cookie otherwise.
	Origins []string
	// InsecureDevelopment also allows every loopback origin (http://localhost:5173), allows Origins
	// on other sites, and sends logins back to the request's host if that is an allowed origin. The
	// issuer must be http on loopback. It MUST NOT be set where users sign in from another machine.
	InsecureDevelopment bool
	// Look is the look of the pages. If nil, it is [look.Default].
	Look *look.Look
}

// Site knows the origins whose pages may call the broker. It is safe for concurrent use.
type Site struct {
	// Issuer is the broker's own URL.
	Issuer string
	// Development is [SiteConfig.InsecureDevelopment].
	Development bool
	// Look is the look of the pages. It is never nil.
	Look *look.Look

	own     *url.URL
	allowed atomic.Pointer[allowedOrigins]
}

// allowedOrigins are the allowed values of the Origin header, as browsers write them: the own
// origin and the configured ones. "null" is never among them.
type allowedOrigins struct {
	named map[string]struct{}
	home  string // the first SPA's root, or without one the broker's own
}

// NewSite checks the configuration.
func NewSite(c SiteConfig) (*Site, error) {
	own, err := url.Parse(c.Issuer)
	if err != nil || (own.Scheme != "http" && own.Scheme != "https") || own.Host == "" || own.RawQuery != "" || own.Fragment != "" || own.User != nil {
		return nil, fmt.Errorf("issuer %q: want an absolute http or https URL without query and fragment", c.Issuer)
	}
	if c.InsecureDevelopment && (own.Scheme != "http" || !origin.LoopbackHost(own.Hostname())) {
		return nil, fmt.Errorf("InsecureDevelopment with the issuer %q: want an http issuer on loopback", c.Issuer)
	}
	s := &Site{Issuer: c.Issuer, Development: c.InsecureDevelopment, Look: cmp.Or(c.Look, look.Default()), own: own}
	if err := s.SetOrigins(c.Origins); err != nil {
		return nil, err
	}
	return s, nil
}

// SetOrigins replaces the origins of the SPAs from the next request on. If it returns an error,
// the previous ones stay.
func (s *Site) SetOrigins(configured []string) error {
	allowed := &allowedOrigins{named: map[string]struct{}{origin.Of(s.own): {}}, home: "/"}
	for _, o := range configured {
		u, err := origin.Parse(o)
		if err != nil {
			return err
		}
		// In development, a proxy may serve the broker on the SPA's site.
		if !s.Development && !origin.SameSite(s.own, u) {
			return fmt.Errorf("origin %q is not same-site with the issuer %q: browsers would not send it the session cookie; serve both below one domain and scheme (localhost and 127.0.0.1 are two sites)", o, s.Issuer)
		}
		allowed.named[origin.Of(u)] = struct{}{}
	}
	if len(configured) > 0 {
		allowed.home = strings.TrimSuffix(configured[0], "/") + "/"
	}
	s.allowed.Store(allowed)
	return nil
}

// Origins returns the SPAs' origins and the broker's own, sorted.
func (s *Site) Origins() []string { return slices.Sorted(maps.Keys(s.allowed.Load().named)) }

// Home returns the root of the first SPA, or / if there is none.
func (s *Site) Home() string { return s.allowed.Load().home }

// HTTPS reports whether browsers reach the broker over TLS.
func (s *Site) HTTPS() bool { return s.own.Scheme == "https" }

// Allows reports whether pages of an origin, as browsers write it, may call.
func (s *Site) Allows(sent string) bool {
	_, ok := s.allowed.Load().named[sent]
	return ok || s.Development && origin.IsLoopback(sent)
}

// AtHost returns the allowed origin that a Host header names, and "" if there is none.
func (s *Site) AtHost(host string) string {
	for _, scheme := range []string{"http://", "https://"} {
		if sent := scheme + strings.ToLower(host); s.Allows(sent) {
			return sent
		}
	}
	return ""
}

// CheckOrigin refuses a request that another site's page made. Without an Origin, the browser's
// Sec-Fetch-Site decides; without both, the caller is not a browser (curl), and the cookie's
// SameSite and the CSRF token protect the session.
func (s *Site) CheckOrigin(r *http.Request) error {
	if sent := r.Header.Values("Origin"); len(sent) > 0 {
		if len(sent) > 1 || !s.Allows(sent[0]) {
			return forbidden(sent)
		}
		return nil
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "same-origin" && site != "none" {
			return &broker.Error{Code: CodeForbiddenOrigin, Message: "the request comes from a page of another site and has no Origin header"}
		}
	}
	return nil
}

// CheckOwnOrigin refuses a request that another page than the broker's own made. Unlike [Site.CheckOrigin], it refuses
// pages of the SPAs as well. In development, the page may be at any allowed origin that the request's host names.
func (s *Site) CheckOwnOrigin(r *http.Request) error {
	sent := r.Header.Values("Origin")
	if len(sent) == 0 {
		return s.CheckOrigin(r)
	}
	own := origin.Of(s.own)
	if s.Development {
		own = cmp.Or(s.AtHost(r.Host), own)
	}
	if len(sent) > 1 || sent[0] != own {
		return &broker.Error{Code: CodeForbiddenOrigin, Message: "the form was not sent by a page of the broker", Err: forbidden(sent)}
	}
	return nil
}

// CheckPost starts the order of refusal that every POST of a page shares: the body's type, then
// the origin.
func (s *Site) CheckPost(r *http.Request) error {
	if err := CheckJSON(r); err != nil {
		return err
	}
	return s.CheckOrigin(r)
}

// maxOriginShown is how much of an Origin the log shows, in bytes.
const maxOriginShown = 128

// forbidden refuses what a request sent as its Origin. The answer does not repeat
// the Origin; the log contains it.
func forbidden(sent []string) error {
	cause := fmt.Errorf("%d Origin headers", len(sent))
	if len(sent) == 1 {
		shown := sent[0]
		if len(shown) > maxOriginShown {
			shown = shown[:maxOriginShown] + "..."
		}
		cause = fmt.Errorf("origin %+q is not allowed: if your pages are served there, add it to origins (in dev: --origin)", shown)
	}
	return &broker.Error{Code: CodeForbiddenOrigin, Message: "the Origin is neither the broker's own nor a configured one; an operator can add it to origins", Err: cause}
}

// corsHeaders are the headers that pages of allowed origins may send. Browsers compare them without
// regard to case. They are those that /auth reads and those that front ends add to every request: the
// defaults of django-cors-headers, which the predecessor allowed, and the headers of tracing. All are
// listed independent of the pre-flight, so that its answer does not depend on the request.
var corsHeaders = strings.Join([]string{
	"Authorization", "Content-Type", "X-CSRF-Token", "X-Request-Id",
	"Accept", "Accept-Language", "Content-Language", "Cache-Control", "Pragma", "User-Agent", "X-CSRFToken", "X-Requested-With",
	"traceparent", "tracestate", "baggage", "sentry-trace", "b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled",
	"X-B3-Flags", "uber-trace-id", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "Request-Id", "newrelic", "X-Datadog-Trace-Id",
	"X-Datadog-Parent-Id", "X-Datadog-Origin", "X-Datadog-Sampling-Priority", "X-Datadog-Tags",
}, ", ")

// ExposedHeaders are the headers of answers that pages may read (Access-Control-Expose-Headers).
const ExposedHeaders = "Retry-After, WWW-Authenticate, X-Request-Id"

// CrossOrigin says which paths outside of /auth pages of other origins may call. A function that is nil stands for no path.
type CrossOrigin struct {
	// IsPublic reports whether a path is for pages of every origin: its answers are the same for every caller, hold no
	// secret and depend on no header of the request, so all callers can share one cached copy.
	IsPublic func(path string) bool
	// IsOpen reports whether pages of every origin may call a path, whose endpoint reads neither cookies nor anything else that
	// a browser adds by itself.
	IsOpen func(path string) bool
	// IsForClients reports whether a path is for pages of OAuth clients, without cookies. AllowsClient
	// reports whether an origin is one of any client. The endpoint decides whether the page may read its answer.
	IsForClients func(path string) bool
	AllowsClient func(ctx context.Context, origin string) bool
}

// CORS answers pre-flights before any other check, and lets allowed origins
// read every answer of /auth, refusals as well, with credentials. It does not let them read the pages that users see, nor
// call them.
func (s *Site) CORS(next http.Handler, other CrossOrigin) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		sent := r.Header.Values("Origin")
		one := len(sent) == 1
		allowed := false
		switch path := r.URL.Path; {
		case other.IsPublic != nil && other.IsPublic(path):
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
			if isPreflight(r) {
				answerPreflight(w, r, "GET, HEAD", "*")
				return
			}
			next.ServeHTTP(w, r)
			return
		case other.IsOpen != nil && other.IsOpen(path):
			h.Set("Access-Control-Allow-Origin", "*")
			if isPreflight(r) {
				answerPreflight(w, r, "GET, POST, DELETE", "*, Authorization") // * does not include it (Fetch, CORS-preflight fetch)
				return
			}
			h.Set("Access-Control-Expose-Headers", ExposedHeaders)
			next.ServeHTTP(w, r)
			return
		case other.IsForClients != nil && other.IsForClients(path):
			if !isPreflight(r) {
				next.ServeHTTP(w, r)
				return
			}
			h.Add("Vary", "Origin")
			if allowed = one && other.AllowsClient(r.Context(), sent[0]); allowed {
				h.Set("Access-Control-Allow-Origin", sent[0])
			}
		case isPage(path), path != AuthPath && !strings.HasPrefix(path, AuthPath+"/"):
			next.ServeHTTP(w, r)
			return
		default:
			h.Add("Vary", "Origin")
			if allowed = one && s.Allows(sent[0]); allowed {
				h.Set("Access-Control-Allow-Origin", sent[0])
				h.Set("Access-Control-Allow-Credentials", "true")
				h.Set("Access-Control-Expose-Headers", ExposedHeaders)
			}
			if !isPreflight(r) {
				next.ServeHTTP(w, r)
				return
			}
		}
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
		if !allowed {
			EntryOf(r).Route = preflightRoute
			Fail(w, r, forbidden(sent))
			return
		}
		answerPreflight(w, r, "GET, HEAD, POST", corsHeaders)
	})
}

// isPage reports whether a path below /auth is one of the pages, which no script may read.
func isPage(path string) bool {
	for _, page := range []string{AuthorizePath, LogoutPath, look.Path} {
		if path == page || strings.HasPrefix(path, page+"/") {
			return true
		}
	}
	return false
}

// isPreflight reports whether r is a CORS pre-flight request (Fetch, CORS-preflight request).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header.Values("Origin")) > 0 && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflightRoute is the route of pre-flight requests in the log.
const preflightRoute = "preflight"

func answerPreflight(w http.ResponseWriter, r *http.Request, methods, headers string) {
	EntryOf(r).Route = preflightRoute
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", headers)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
