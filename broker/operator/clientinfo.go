package operator

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/internal/setting"
	"tokenbroker/store"
)

// ClientSettings are what operators set of a client. The names of its members are those of a client in the configuration. In a change, a
// member that is nil is not changed, and an empty one removes the value.
type ClientSettings struct {
	Name           *string  `json:"name,omitempty"`
	Scopes         []string `json:"scopes,omitzero"`
	DefaultScopes  []string `json:"default_scopes,omitzero"`
	Audiences      []string `json:"audiences,omitzero"`
	Grants         []string `json:"grants,omitzero"`
	RedirectURIs   []string `json:"redirect_uris,omitzero"`
	PostLogoutURIs []string `json:"post_logout_redirect_uris,omitzero"`
	Origins        []string `json:"origins,omitzero"`
	FirstParty     *bool    `json:"first_party,omitempty"`
	// AccessToken, SessionIdle, SessionAbsolute and RefreshGrace are durations, such as 5m. If empty, they are the broker's.
	AccessToken     *string `json:"access_token,omitempty"`
	SessionIdle     *string `json:"session_idle,omitempty"`
	SessionAbsolute *string `json:"session_absolute,omitempty"`
	RefreshGrace    *string `json:"refresh_grace,omitempty"`
	// JWKS is a key set of public keys. An empty object removes it.
	JWKS      map[string]any `json:"jwks,omitzero"`
	JWKSURI   *string        `json:"jwks_uri,omitempty"`
	Workloads []Workload     `json:"workloads,omitzero"`
}

// Workload is an identity of another issuer. See [broker.Workload].
type Workload struct {
	Issuer   string `json:"issuer"`
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
	JWKSURI  string `json:"jwks_uri,omitempty"`
}

// NewClient is a client to be registered. A client that is not Public gets a secret, unless it has keys or workloads.
type NewClient struct {
	ID     string `json:"id"`
	Public bool   `json:"public,omitempty"`
	ClientSettings
}

// ClientInfo describes a client to operators, without its secrets and their hashes.
type ClientInfo struct {
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"`
	Public bool   `json:"public"`
	// Dynamic is true for a client that operators registered or that describes itself. The others are those of the configuration.
	Dynamic bool `json:"dynamic"`
	// Class is left out for a client that the configuration or an operator named.
	Class     broker.ClientClass `json:"class,omitempty"`
	HasSecret bool               `json:"has_secret"`
	// HasPreviousSecret is true while the secret before the latest rotation is also accepted: until PreviousSecretUntil, or
	// without end.
	HasPreviousSecret   bool      `json:"has_previous_secret,omitempty"`
	PreviousSecretUntil time.Time `json:"previous_secret_until,omitzero"`

	Grants         []string `json:"grants"`
	Scopes         []string `json:"scopes,omitempty"`
	DefaultScopes  []string `json:"default_scopes,omitempty"`
	Audiences      []string `json:"audiences,omitempty"`
	RedirectURIs   []string `json:"redirect_uris,omitempty"`
	PostLogoutURIs []string `json:"post_logout_redirect_uris,omitempty"`
	Origins        []string `json:"origins,omitempty"`
	FirstParty     bool     `json:"first_party"`
	// AccessToken, SessionIdle, SessionAbsolute and RefreshGrace are left out where they are the broker's.
	AccessToken     setting.Duration  `json:"access_token,omitempty"`
	SessionIdle     setting.Duration  `json:"session_idle,omitempty"`
	SessionAbsolute setting.Duration  `json:"session_absolute,omitempty"`
	RefreshGrace    *setting.Duration `json:"refresh_grace,omitempty"`
	JWKS            json.RawMessage   `json:"jwks,omitempty"`
	JWKSURI         string            `json:"jwks_uri,omitempty"`
	Workloads       []Workload        `json:"workloads,omitempty"`

	CreatedAt time.Time `json:"created_at,omitzero"`
	// ExpiresAt is when a client that registered itself is removed unless it is used before.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Epoch ends all sessions and tokens of the client with a lower one.
	Epoch int64 `json:"epoch,omitempty"`
}

// ClientSecret is a client with its new secret, which no later answer has. Secret is empty for a client without one.
type ClientSecret struct {
	ClientInfo
	Secret string `json:"secret,omitempty"`
}

// ClientQuery selects clients in the order of their ids.
type ClientQuery struct {
	After string
	Limit int // 1 … 1000; default 100
}

// ClientPage is one page; Next is the After of the next one, or "".
type ClientPage struct {
	Clients []ClientInfo `json:"clients"`
	Next    string       `json:"next,omitempty"`
	// Unreadable is the number of damaged records that were skipped. The log names them.
	Unreadable int `json:"unreadable,omitempty"`
}

// Client returns one client. Errors: CodeUnknownClient.
func (svc *Service) Client(ctx context.Context, id string) (ClientInfo, error) {
	record, _, err := svc.readClient(ctx, id)
	if err != nil {
		return ClientInfo{}, commit.AppError(ctx, "reading a client", err)
	}
	return svc.clientInfo(record), nil
}

// ListClients returns a page of the clients, configured and dynamic.
func (svc *Service) ListClients(ctx context.Context, q ClientQuery) (ClientPage, error) {
	page := ClientPage{Clients: []ClientInfo{}}
	prefix := directory.ClientKey("")
	next, unreadable, err := svc.scan(ctx, prefix, afterKey(prefix, q.After), q.Limit, func(rec store.Record) (bool, error) {
		var record directory.ClientRecord
		if err := directory.DecodeRecord("client", rec.Value, &record, &record.V); err != nil || record.Removed || record.Expired(svc.cfg.Clock.Now()) {
			return false, err
		}
		page.Clients = append(page.Clients, svc.clientInfo(record))
		return true, nil
	})
	if err != nil {
		return ClientPage{}, commit.AppError(ctx, "listing clients", err)
	}
	page.Next, page.Unreadable = strings.TrimPrefix(next, prefix), unreadable
	return page, nil
}

// readClient returns the record of a client that exists. Errors: CodeUnknownClient.
func (svc *Service) readClient(ctx context.Context, id string) (directory.ClientRecord, store.Revision, error) {
	record, rev, err := directory.ReadClient(ctx, svc.cfg.Store, id)
	if err == nil && (rev == 0 || record.Removed || record.Expired(svc.cfg.Clock.Now())) {
		err = &broker.Error{Code: broker.CodeUnknownClient, Message: "No client has this id; list the clients to find it."}
		if directory.IsDocumentID(id) {
			err = &broker.Error{Code: broker.CodeUnknownClient, Message: "This client was never revoked, so the broker keeps nothing of it; its metadata is in the document at its client_id."}
		}
	}
	return record, rev, err
}

// clientInfo describes a client to operators.
func (svc *Service) clientInfo(r directory.ClientRecord) ClientInfo {
	info := ClientInfo{
		ID: r.ID, Name: r.Name, Public: r.Public(), Dynamic: r.Dynamic, Class: r.Class(), HasSecret: len(r.SecretHash) > 0,
		Grants: directory.GrantNames(r.Grants), Scopes: r.Scopes, DefaultScopes: r.DefaultScopes, Audiences: r.Audiences,
		RedirectURIs: r.RedirectURIs, PostLogoutURIs: r.PostLogoutURIs, Origins: r.Origins, FirstParty: r.FirstParty,
		AccessToken: settingOf(r.Lifetimes.Access), SessionIdle: settingOf(r.Lifetimes.Idle), SessionAbsolute: settingOf(r.Lifetimes.Absolute),
		JWKS: r.JWKS, JWKSURI: r.JWKSURI, Epoch: r.Epoch,
	}
	if r.Lifetimes.Grace != nil {
		grace := settingOf(*r.Lifetimes.Grace)
		info.RefreshGrace = &grace
	}
	if len(r.PreviousHash) > 0 && (r.PreviousUntil == 0 || svc.cfg.Clock.Now().Unix() < r.PreviousUntil) {
		info.HasPreviousSecret = true
		if r.PreviousUntil != 0 {
			info.PreviousSecretUntil = time.Unix(r.PreviousUntil, 0).UTC()
		}
	}
	if r.CreatedAt != 0 {
		info.CreatedAt = time.Unix(r.CreatedAt, 0).UTC()
	}
	if r.Registration != nil {
		info.ExpiresAt = time.Unix(r.Registration.ExpiresAt, 0).UTC()
	}
	for _, w := range r.Workloads {
		info.Workloads = append(info.Workloads, Workload(w))
	}
	return info
}

func settingOf(seconds int64) setting.Duration {
	return setting.Duration(time.Duration(seconds) * time.Second)
}
