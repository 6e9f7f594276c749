package api

import (
	"net/http"
	"strings"

	"tokenbroker/broker"
)

// cors answers pre-flights of /auth before anything else is looked at, and lets allowed
// origins read every answer of /auth, refusals as well, with credentials.
func (s *server) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			h.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
		}
		if r.Method != http.MethodOptions || len(sent) == 0 || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		exchangeOf(r).route = "preflight"
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
		if !allowed {
			fail(w, r, &broker.Error{Code: CodeForbiddenOrigin, Message: "the Origin is neither the broker's own nor a configured one"})
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-CSRF-Token, X-Request-Id")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	})
}
