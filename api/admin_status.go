package api

import "net/http"

// status is GET /admin/v1/status.
func (a *admin) status(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, a.cfg.Status(r.Context()))
}

// metrics is GET /metrics.
func (a *admin) metrics(w http.ResponseWriter, r *http.Request) error {
	a.cfg.Metrics.ServeHTTP(w, r)
	return nil
}

// ready is GET /readyz, as on the public listener.
func (a *admin) ready(w http.ResponseWriter, r *http.Request) error {
	return answerReadiness(w, r, a.cfg.Readiness(r.Context()))
}
