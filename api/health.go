package api

import (
	"net/http"
	"strings"

	"tokenbroker/broker"
)

// readyAnswer is the body of GET /readyz when the broker serves.
type readyAnswer struct {
	Status   string   `json:"status"` // ready, or degraded
	Degraded []string `json:"degraded,omitempty"`
	Checks   []Check  `json:"checks,omitempty"`
}

// live is GET /livez and its alias /healthz: the process answers, and that is all.
func live(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// ready is GET /readyz: 200 when every check is OK, with those that are degraded by name,
// and else 503. ?verbose adds all checks with their details.
func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	return answerReadiness(w, r, s.cfg.Readiness(r.Context()))
}

// answerReadiness is the answer of both listeners.
func answerReadiness(w http.ResponseWriter, r *http.Request, checks []Check) error {
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
	return writeJSON(w, http.StatusOK, answer)
}
