package httpapi

import (
	"net/http"
	"strings"

	"tokenbroker/broker"
)

// Check is one line of GET /readyz.
type Check struct {
	// Name is that of the part: store, keyring, nats, ...
	Name string `json:"name"`
	// OK is false when the broker cannot serve without the part.
	OK bool `json:"ok"`
	// Degraded is true when the part works with restrictions.
	Degraded bool `json:"degraded,omitempty"`
	// Detail is a public text for people, without addresses and secrets.
	Detail string `json:"detail,omitempty"`
}

// readyAnswer is the body of GET /readyz when the broker serves.
type readyAnswer struct {
	Status   string   `json:"status"` // ready, or degraded
	Degraded []string `json:"degraded,omitempty"`
	Checks   []Check  `json:"checks,omitempty"`
}

// Live is GET /livez and its alias /healthz: the process answers.
func Live(w http.ResponseWriter, _ *http.Request) error {
	return WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Ready is GET /readyz: 200 when every check is OK, with the names of those that are degraded,
// and 503 otherwise. The query's verbose adds all checks with their details.
func Ready(w http.ResponseWriter, r *http.Request, checks []Check) error {
	answer := readyAnswer{Status: "ready"}
	var failed []string
	for _, c := range checks {
		switch {
		case !c.OK:
			failed = append(failed, c.Name)
		case c.Degraded:
			answer.Status = "degraded"
			answer.Degraded = append(answer.Degraded, c.Name)
		}
	}
	if r.URL.Query().Has("verbose") {
		answer.Checks = checks
	}
	if len(failed) > 0 {
		failWith(w, r, &broker.Error{Code: CodeNotReady, Message: "not ready: " + strings.Join(failed, ", ")}, answer.Checks)
		return nil
	}
	return WriteJSON(w, http.StatusOK, answer)
}
