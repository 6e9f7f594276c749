package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/internal/setting"
)

// Clients is the set of operators' use cases about OAuth clients. The broker implements it.
type Clients interface {
	// AddClient and RotateClientSecret return the new secret, which no other answer has.
	AddClient(ctx context.Context, client operator.NewClient, req broker.Request) (operator.ClientSecret, error)
	RotateClientSecret(ctx context.Context, id string, overlap time.Duration, req broker.Request) (operator.ClientSecret, error)
	Client(ctx context.Context, id string) (operator.ClientInfo, error)
	ListClients(ctx context.Context, q operator.ClientQuery) (operator.ClientPage, error)
	UpdateClient(ctx context.Context, id string, change operator.ClientSettings, req broker.Request) (operator.ClientInfo, error)
	// RemoveClient ends the client's sessions and tokens everywhere.
	RemoveClient(ctx context.Context, id string, req broker.Request) (operator.Revoked, error)
}

var _ Clients = (*operator.Service)(nil)

func (a *handler) clientRoutes() []route {
	return []route{
		{pattern: "/admin/v1/clients", methods: map[string]httpapi.Endpoint{http.MethodGet: a.listClients, http.MethodPost: a.addClient}},
		{pattern: "/admin/v1/clients/{id}", methods: map[string]httpapi.Endpoint{
			http.MethodGet: a.showClient, http.MethodPatch: a.updateClient, http.MethodDelete: a.removeClient,
		}},
		post("/admin/v1/clients/{id}/secret", a.rotateClientSecret),
	}
}

// listClients is GET /admin/v1/clients?after=&limit=.
func (a *handler) listClients(w http.ResponseWriter, r *http.Request) error {
	q, err := readListQuery(r)
	if err != nil {
		return err
	}
	page, err := a.cfg.Clients.ListClients(r.Context(), operator.ClientQuery{After: q.after, Limit: q.limit})
	if err != nil {
		return err
	}
	clients := make([]operator.ClientInfo, len(page.Clients)) // the page is the broker's, and [] is not null
	for i, client := range page.Clients {
		clients[i] = withGrants(client)
	}
	page.Clients = clients
	return httpapi.WriteJSON(w, http.StatusOK, page)
}

// withGrants replaces a missing list of grants by an empty one.
func withGrants(client operator.ClientInfo) operator.ClientInfo {
	if client.Grants == nil {
		client.Grants = []string{}
	}
	return client
}

// addClient is POST /admin/v1/clients {id, public?, …}.
func (a *handler) addClient(w http.ResponseWriter, r *http.Request) error {
	var client operator.NewClient
	if err := readClient(w, r, &client.ClientSettings, httpapi.Required("id", &client.ID), httpapi.Optional("public", &client.Public)); err != nil {
		return err
	}
	added, err := a.cfg.Clients.AddClient(r.Context(), client, operatorRequest(r, ""))
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/admin/v1/clients/"+url.PathEscape(added.ID))
	return writeClient(w, http.StatusCreated, added)
}

// writeClient answers with a client and its secret, if there is one.
func writeClient(w http.ResponseWriter, status int, client operator.ClientSecret) error {
	client.ClientInfo = withGrants(client.ClientInfo)
	return httpapi.WriteJSON(w, status, client)
}

// readClient reads the settings of a client, and more members.
func readClient(w http.ResponseWriter, r *http.Request, s *operator.ClientSettings, more ...httpapi.Member) error {
	var workloads []map[string]any
	err := readJSON(w, r, append(more,
		httpapi.Optional("name", &s.Name), httpapi.Optional("scopes", &s.Scopes), httpapi.Optional("default_scopes", &s.DefaultScopes),
		httpapi.Optional("audiences", &s.Audiences), httpapi.Optional("grants", &s.Grants), httpapi.Optional("redirect_uris", &s.RedirectURIs),
		httpapi.Optional("post_logout_redirect_uris", &s.PostLogoutURIs), httpapi.Optional("origins", &s.Origins),
		httpapi.Optional("first_party", &s.FirstParty), httpapi.Optional("access_token", &s.AccessToken),
		httpapi.Optional("session_idle", &s.SessionIdle), httpapi.Optional("session_absolute", &s.SessionAbsolute),
		httpapi.Optional("refresh_grace", &s.RefreshGrace), httpapi.Optional("jwks", &s.JWKS), httpapi.Optional("jwks_uri", &s.JWKSURI),
		httpapi.Optional("workloads", &workloads))...)
	if err != nil || workloads == nil {
		return err
	}
	s.Workloads = []operator.Workload{}
	for _, members := range workloads {
		var workload operator.Workload
		for name, value := range members {
			into := map[string]*string{
				"issuer": &workload.Issuer, "subject": &workload.Subject, "audience": &workload.Audience, "jwks_uri": &workload.JWKSURI,
			}[name]
			text, isText := value.(string)
			if into == nil || !isText {
				return httpapi.InvalidBody("workloads must be an array of objects with the strings issuer, subject, audience and jwks_uri")
			}
			*into = text
		}
		s.Workloads = append(s.Workloads, workload)
	}
	return nil
}

// showClient is GET /admin/v1/clients/{id}.
func (a *handler) showClient(w http.ResponseWriter, r *http.Request) error {
	info, err := a.cfg.Clients.Client(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, withGrants(info))
}

// updateClient is PATCH /admin/v1/clients/{id}: a missing member stays as it is, and an empty one removes the value.
func (a *handler) updateClient(w http.ResponseWriter, r *http.Request) error {
	var change operator.ClientSettings
	if err := readClient(w, r, &change); err != nil {
		return err
	}
	info, err := a.cfg.Clients.UpdateClient(r.Context(), r.PathValue("id"), change, operatorRequest(r, ""))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, withGrants(info))
}

// removeClient is DELETE /admin/v1/clients/{id}?wait=, with or without {note?}.
func (a *handler) removeClient(w http.ResponseWriter, r *http.Request) error {
	return revokeWith(w, r, func(ctx context.Context, req broker.Request) (operator.Revoked, error) {
		return a.cfg.Clients.RemoveClient(ctx, r.PathValue("id"), req)
	})
}

// rotateClientSecret is POST /admin/v1/clients/{id}/secret {overlap?, note?}.
func (a *handler) rotateClientSecret(w http.ResponseWriter, r *http.Request) error {
	var overlapText, note string
	if err := readJSON(w, r, httpapi.Optional("overlap", &overlapText), httpapi.Optional("note", &note)); err != nil {
		return err
	}
	overlap := setting.Duration(operator.DefaultOverlap)
	if overlapText != "" {
		var err error
		if overlap, err = setting.ParseDuration(overlapText); err != nil {
			return httpapi.InvalidBody("overlap must be a duration, for example 24h, or 0s")
		}
	}
	rotated, err := a.cfg.Clients.RotateClientSecret(r.Context(), r.PathValue("id"), overlap.Std(), operatorRequest(r, note))
	if err != nil {
		return err
	}
	return writeClient(w, http.StatusOK, rotated)
}
