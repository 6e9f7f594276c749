package api

import (
	"net/http"

	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

func (a *admin) sessionRoutes() []adminRoute {
	return []adminRoute{
		{pattern: "/admin/v1/sessions", methods: map[string]endpoint{http.MethodGet: a.listSessions}},
		{pattern: "/admin/v1/sessions/{sid}", methods: map[string]endpoint{http.MethodDelete: a.endSession}},
	}
}

// listSessions is GET /admin/v1/sessions?user=&after=&limit=&ended=true.
func (a *admin) listSessions(w http.ResponseWriter, r *http.Request) error {
	q, err := readListQuery(r)
	if err != nil {
		return err
	}
	ended, err := q.flag("ended")
	if err != nil {
		return err
	}
	page, err := a.cfg.Operators.ListSessions(r.Context(), operator.SessionQuery{
		User: q.values.Get("user"), After: q.after, Limit: q.limit, Ended: ended,
	})
	if err != nil {
		return err
	}
	if page.Sessions == nil {
		page.Sessions = []operator.SessionSummary{}
	}
	return writeJSON(w, http.StatusOK, page)
}

// endSession is DELETE /admin/v1/sessions/{sid}?wait=, with or without {note?}.
func (a *admin) endSession(w http.ResponseWriter, r *http.Request) error {
	note, err := readNote(w, r)
	if err != nil {
		return err
	}
	req, err := revokingRequest(r, note)
	if err != nil {
		return err
	}
	revoked, err := a.cfg.Operators.RevokeSession(r.Context(), r.PathValue("sid"), string(revocation.ReasonRevoked), req)
	if err != nil {
		return err
	}
	return writeRevoked(w, revoked)
}
