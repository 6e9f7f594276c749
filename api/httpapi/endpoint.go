// Package httpapi holds the HTTP conventions that the endpoints of all audiences share: routes and
// documents (endpoint.go), request bodies and answers (body.go), problem documents and their
// codes (problem.go), pages for people (page.go), allowed origins and CORS (site.go), trusted
// proxies (proxies.go), request ids and the access log (accesslog.go), client
// credentials, the refresh cookie's settings, readiness and server-sent events.
package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tokenbroker/broker"
)

// Endpoint answers a request. If it returns an error, it has written at most headers, and the
// caller calls [Fail].
type Endpoint func(w http.ResponseWriter, r *http.Request) error

// Route is an endpoint with the methods and the path that it answers, without a trailing slash.
// A path segment that begins with a colon is a parameter, for [http.Request.PathValue].
type Route struct {
	Methods  []string
	Path     string
	Endpoint Endpoint
	// Wrap is called with the endpoint behind the [Guard], so that it also sees the guard's refusals. It may be nil.
	Wrap func(Endpoint) Endpoint
}

// Around returns the route with that Wrap.
func (r Route) Around(wrap func(Endpoint) Endpoint) Route {
	r.Wrap = wrap
	return r
}

// Guard returns an endpoint that calls next, the endpoint of a path, or refuses the request. A path is the
// pattern of its route.
type Guard func(path string, next Endpoint) Endpoint

// Wrap returns next behind the guard, or next itself without one.
func (g Guard) Wrap(path string, next Endpoint) Endpoint {
	if g == nil {
		return next
	}
	return g(path, next)
}

// Get returns the route of GET and HEAD.
func Get(path string, f Endpoint) Route {
	return Route{Methods: []string{http.MethodGet, http.MethodHead}, Path: path, Endpoint: f}
}

// Post returns the route of POST.
func Post(path string, f Endpoint) Route {
	return Route{Methods: []string{http.MethodPost}, Path: path, Endpoint: f}
}

// Document returns a published document, its entity tag (quoted as in RFC 9110 §8.8.3, or
// bare) and how long it may be cached. It is called for each request and must not block.
// An empty body means that the document is not available now: the answer is 503. The caller must not change body.
type Document func() (body []byte, etag string, maxAge time.Duration)

// Serve returns the endpoint of a document that changes.
func Serve(get Document) Endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, etag, maxAge := get()
		return ServeDocument(w, r, body, etag, maxAge)
	}
}

// ServeDocument answers 200, or 304 if the caller has the document already.
func ServeDocument(w http.ResponseWriter, r *http.Request, body []byte, etag string, maxAge time.Duration) error {
	if len(body) == 0 {
		return &broker.Error{Code: broker.CodeUnavailable, Message: "the document is not available at present; try again"}
	}
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", max(0, int64(maxAge/time.Second))))
	if !NotModified(w, r, etag) {
		// Not application/jwk-set+json: some JWKS readers require plain JSON.
		WriteBody(w, http.StatusOK, "application/json", body)
	}
	return nil
}

// NotModified sets the entity tag of the answer and reports whether the caller already has that
// version; in that case it has answered 304. A bare tag gets its quotes (RFC 9110 §8.8.3); an empty tag
// is not set.
func NotModified(w http.ResponseWriter, r *http.Request, etag string) bool {
	if etag == "" {
		return false
	}
	if !strings.HasPrefix(etag, `"`) && !strings.HasPrefix(etag, `W/"`) {
		etag = `"` + etag + `"`
	}
	w.Header().Set("ETag", etag)
	if !matches(r.Header.Values("If-None-Match"), etag) {
		return false
	}
	w.WriteHeader(http.StatusNotModified)
	return true
}

// matches is the weak comparison of If-None-Match (RFC 9110 §13.1.2). Our tags have no commas.
func matches(sent []string, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for _, line := range sent {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.Trim(tag, " \t"); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// Missing returns an error that names the fields of a configuration that are absent, sorted, or
// nil if there are none.
func Missing(absent map[string]bool) error {
	var names []string
	for name, missing := range absent {
		if missing {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return errors.New("missing: " + strings.Join(names, ", "))
}
