package admin

import (
	"context"
	"net/http"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

func (a *handler) userRoutes() []route {
	return []route{
		{pattern: "/admin/v1/users", methods: map[string]httpapi.Endpoint{http.MethodGet: a.listUsers, http.MethodPost: a.addUser}},
		{pattern: "/admin/v1/users/{ref}", methods: map[string]httpapi.Endpoint{
			http.MethodGet: a.showUser, http.MethodPatch: a.updateUser, http.MethodDelete: a.removeUser,
		}},
		post("/admin/v1/users/{ref}/password", a.setPassword),
		post("/admin/v1/users/{ref}/disable", a.disableUser),
		post("/admin/v1/users/{ref}/enable", a.enableUser),
	}
}

// listUsers is GET /admin/v1/users?match=&after=&limit=.
func (a *handler) listUsers(w http.ResponseWriter, r *http.Request) error {
	q, err := readListQuery(r)
	if err != nil {
		return err
	}
	page, err := a.cfg.Operators.ListUsers(r.Context(), operator.UserQuery{Match: q.values.Get("match"), After: q.after, Limit: q.limit})
	if err != nil {
		return err
	}
	users := make([]operator.UserInfo, len(page.Users)) // the page is the broker's, and [] is not null
	for i, user := range page.Users {
		users[i] = presented(user)
	}
	page.Users = users
	return httpapi.WriteJSON(w, http.StatusOK, page)
}

// addUser is POST /admin/v1/users {username, password, attributes?, roles?}.
func (a *handler) addUser(w http.ResponseWriter, r *http.Request) error {
	var user operator.NewUser
	err := readJSON(w, r, httpapi.Required("username", &user.Username), httpapi.Required("password", &user.Password),
		httpapi.Optional("attributes", &user.Attributes), httpapi.Optional("roles", &user.Roles))
	if err != nil {
		return err
	}
	info, err := a.cfg.Operators.AddUser(r.Context(), user, operatorRequest(r, ""))
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/admin/v1/users/"+info.UID)
	return httpapi.WriteJSON(w, http.StatusCreated, presented(info))
}

// showUser is GET /admin/v1/users/{ref}.
func (a *handler) showUser(w http.ResponseWriter, r *http.Request) error {
	info, err := a.cfg.Operators.User(r.Context(), r.PathValue("ref"))
	return writeUser(w, info, err)
}

// updateUser is PATCH /admin/v1/users/{ref} {attributes?, roles?}: a missing member stays as it is.
func (a *handler) updateUser(w http.ResponseWriter, r *http.Request) error {
	var change operator.UserChange
	if err := readJSON(w, r, httpapi.Optional("attributes", &change.Attributes), httpapi.Optional("roles", &change.Roles)); err != nil {
		return err
	}
	if change.Attributes == nil && change.Roles == nil {
		return httpapi.InvalidBody("attributes and roles are both missing; send at least one of them")
	}
	info, err := a.cfg.Operators.UpdateUser(r.Context(), r.PathValue("ref"), change, operatorRequest(r, ""))
	return writeUser(w, info, err)
}

// setPassword is POST /admin/v1/users/{ref}/password?wait= {password, keep_sessions?}.
func (a *handler) setPassword(w http.ResponseWriter, r *http.Request) error {
	var password string
	var keep bool
	if err := readJSON(w, r, httpapi.Required("password", &password), httpapi.Optional("keep_sessions", &keep)); err != nil {
		return err
	}
	req, err := revokingRequest(r, "")
	if err != nil {
		return err
	}
	revoked, err := a.cfg.Operators.SetPassword(r.Context(), r.PathValue("ref"), password, keep, req)
	if err != nil {
		return err
	}
	return writeRevoked(w, revoked.Broadcast, revoked)
}

// disableUser is POST /admin/v1/users/{ref}/disable?wait= {note?}.
func (a *handler) disableUser(w http.ResponseWriter, r *http.Request) error {
	return revokeWith(w, r, func(ctx context.Context, req broker.Request) (operator.Revoked, error) {
		return a.cfg.Operators.DisableUser(ctx, r.PathValue("ref"), req)
	})
}

// enableUser is POST /admin/v1/users/{ref}/enable {note?}.
func (a *handler) enableUser(w http.ResponseWriter, r *http.Request) error {
	note, err := readNote(w, r)
	if err != nil {
		return err
	}
	info, err := a.cfg.Operators.EnableUser(r.Context(), r.PathValue("ref"), operatorRequest(r, note))
	return writeUser(w, info, err)
}

// removeUser is DELETE /admin/v1/users/{ref}?wait=, with or without {note?}.
func (a *handler) removeUser(w http.ResponseWriter, r *http.Request) error {
	return revokeWith(w, r, func(ctx context.Context, req broker.Request) (operator.Revoked, error) {
		return a.cfg.Operators.RemoveUser(ctx, r.PathValue("ref"), req)
	})
}

func writeUser(w http.ResponseWriter, info operator.UserInfo, err error) error {
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, presented(info))
}

// presented replaces a missing list of accounts by an empty one.
func presented(info operator.UserInfo) operator.UserInfo {
	if info.Accounts == nil {
		info.Accounts = []operator.Account{}
	}
	return info
}

func (a *handler) sessionRoutes() []route {
	return []route{
		get("/admin/v1/sessions", a.listSessions),
		{pattern: "/admin/v1/sessions/{sid}", methods: map[string]httpapi.Endpoint{http.MethodDelete: a.endSession}},
	}
}

// listSessions is GET /admin/v1/sessions?user=&after=&limit=&ended=true.
func (a *handler) listSessions(w http.ResponseWriter, r *http.Request) error {
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
	return httpapi.WriteJSON(w, http.StatusOK, page)
}

// endSession is DELETE /admin/v1/sessions/{sid}?wait=, with or without {note?}.
func (a *handler) endSession(w http.ResponseWriter, r *http.Request) error {
	return revokeWith(w, r, func(ctx context.Context, req broker.Request) (operator.Revoked, error) {
		return a.cfg.Operators.RevokeSession(ctx, r.PathValue("sid"), string(revocation.ReasonRevoked), req)
	})
}
