package httpauth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

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
