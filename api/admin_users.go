package api

import (
	"net/http"

	"tokenbroker/broker/operator"
)

func (a *admin) userRoutes() []adminRoute {
	post := func(pattern string, f endpoint) adminRoute {
		return adminRoute{pattern: pattern, methods: map[string]endpoint{http.MethodPost: f}}
	}
	return []adminRoute{
		{pattern: "/admin/v1/users", methods: map[string]endpoint{http.MethodGet: a.listUsers, http.MethodPost: a.addUser}},
		{pattern: "/admin/v1/users/{ref}", methods: map[string]endpoint{
			http.MethodGet: a.showUser, http.MethodPatch: a.updateUser, http.MethodDelete: a.removeUser,
		}},
		post("/admin/v1/users/{ref}/password", a.setPassword),
		post("/admin/v1/users/{ref}/disable", a.disableUser),
		post("/admin/v1/users/{ref}/enable", a.enableUser),
	}
}

// listUsers is GET /admin/v1/users?match=&after=&limit=.
func (a *admin) listUsers(w http.ResponseWriter, r *http.Request) error {
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
	return writeJSON(w, http.StatusOK, page)
}

// addUser is POST /admin/v1/users {username, password, attributes?, roles?}.
func (a *admin) addUser(w http.ResponseWriter, r *http.Request) error {
	var user operator.NewUser
	err := readJSON(w, r, member{"username", &user.Username, true}, member{"password", &user.Password, true},
		member{"attributes", &user.Attributes, false}, member{"roles", &user.Roles, false})
	if err != nil {
		return err
	}
	info, err := a.cfg.Operators.AddUser(r.Context(), user, operatorRequest(r, ""))
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/admin/v1/users/"+info.UID)
	return writeJSON(w, http.StatusCreated, presented(info))
}

// showUser is GET /admin/v1/users/{ref}.
func (a *admin) showUser(w http.ResponseWriter, r *http.Request) error {
	info, err := a.cfg.Operators.User(r.Context(), r.PathValue("ref"))
	return writeUser(w, info, err)
}

// updateUser is PATCH /admin/v1/users/{ref} {attributes?, roles?}: what is missing stays.
func (a *admin) updateUser(w http.ResponseWriter, r *http.Request) error {
	var change operator.UserChange
	if err := readJSON(w, r, member{"attributes", &change.Attributes, false}, member{"roles", &change.Roles, false}); err != nil {
		return err
	}
	if change.Attributes == nil && change.Roles == nil {
		return invalidBody("attributes and roles are both missing: nothing to change")
	}
	info, err := a.cfg.Operators.UpdateUser(r.Context(), r.PathValue("ref"), change, operatorRequest(r, ""))
	return writeUser(w, info, err)
}

// setPassword is POST /admin/v1/users/{ref}/password?wait= {password, keep_sessions?}.
func (a *admin) setPassword(w http.ResponseWriter, r *http.Request) error {
	var password string
	var keep bool
	if err := readJSON(w, r, member{"password", &password, true}, member{"keep_sessions", &keep, false}); err != nil {
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
	return writeRevoked(w, revoked)
}

// disableUser is POST /admin/v1/users/{ref}/disable?wait= {note?}.
func (a *admin) disableUser(w http.ResponseWriter, r *http.Request) error {
	note, err := readNote(w, r)
	if err != nil {
		return err
	}
	req, err := revokingRequest(r, note)
	if err != nil {
		return err
	}
	revoked, err := a.cfg.Operators.DisableUser(r.Context(), r.PathValue("ref"), req)
	if err != nil {
		return err
	}
	return writeRevoked(w, revoked)
}

// enableUser is POST /admin/v1/users/{ref}/enable {note?}.
func (a *admin) enableUser(w http.ResponseWriter, r *http.Request) error {
	note, err := readNote(w, r)
	if err != nil {
		return err
	}
	info, err := a.cfg.Operators.EnableUser(r.Context(), r.PathValue("ref"), operatorRequest(r, note))
	return writeUser(w, info, err)
}

// removeUser is DELETE /admin/v1/users/{ref}?wait=, with or without {note?}.
func (a *admin) removeUser(w http.ResponseWriter, r *http.Request) error {
	note, err := readNote(w, r)
	if err != nil {
		return err
	}
	req, err := revokingRequest(r, note)
	if err != nil {
		return err
	}
	revoked, err := a.cfg.Operators.RemoveUser(r.Context(), r.PathValue("ref"), req)
	if err != nil {
		return err
	}
	return writeRevoked(w, revoked)
}

func writeUser(w http.ResponseWriter, info operator.UserInfo, err error) error {
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, presented(info))
}

// presented makes a missing list of accounts an empty one.
func presented(info operator.UserInfo) operator.UserInfo {
	if info.Accounts == nil {
		info.Accounts = []operator.Account{}
	}
	return info
}
