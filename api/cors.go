package api

import (
	"net/http"
	"strings"
)

// corsHeaders are the headers that pages of allowed origins may send. Browsers compare them without
// regard to case. Besides those that /auth reads, they are those that front ends add to every request:
// what the predecessor let through (the defaults of django-cors-headers), and what tracing sends.
// They are listed whatever a pre-flight asks for, so that its answer does not depend on it.
var corsHeaders = strings.Join([]string{
	"Authorization", "Content-Type", "X-CSRF-Token", "X-Request-Id",
	"Accept", "Accept-Language", "Content-Language", "Cache-Control", "Pragma", "User-Agent", "X-CSRFToken", "X-Requested-With",
	"traceparent", "tracestate", "baggage", "sentry-trace", "b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled",
	"X-B3-Flags", "uber-trace-id", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "Request-Id", "newrelic", "X-Datadog-Trace-Id",
	"X-Datadog-Parent-Id", "X-Datadog-Origin", "X-Datadog-Sampling-Priority", "X-Datadog-Tags",
}, ", ")

// cors answers pre-flights of /auth before anything else is looked at, and lets allowed
// origins read every answer of /auth, refusals as well, with credentials. The files of the SDK
// are for any origin.
func (s *server) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isSDK(r.URL.Path) {
			corsForAll(next).ServeHTTP(w, r)
			return
		}
		if r.URL.Path != "/auth" && !strings.HasPrefix(r.URL.Path, "/auth/") {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Add("Vary", "Origin")
		sent := r.Header.Values("Origin")
		allowed := len(sent) == 1 && s.origins().has(sent[0])
		if allowed {
			h.Set("Access-Control-Allow-Origin", sent[0])
			h.Set("Access-Control-Allow-Credentials", "true")
			h.Set("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate, X-Request-Id")
		}
		if !isPreflight(r) {
			next.ServeHTTP(w, r)
			return
		}
		exchangeOf(r).route = "preflight"
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
		if !allowed {
			fail(w, r, forbidden(sent))
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
		h.Set("Access-Control-Allow-Headers", corsHeaders)
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	})
}

// isPreflight reports whether r is a CORS pre-flight request (Fetch, CORS-preflight request).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header.Values("Origin")) > 0 && r.Header.Get("Access-Control-Request-Method") != ""
}

// corsForAll lets pages of every origin load an answer that is the same for every caller and
// holds no secret. It depends on no header of the request, so one cached copy is good for all.
func corsForAll(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		if !isPreflight(r) {
			next.ServeHTTP(w, r)
			return
		}
		exchangeOf(r).route = "preflight"
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		h.Set("Access-Control-Allow-Headers", "*")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	})
}
