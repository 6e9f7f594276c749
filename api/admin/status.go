package admin

import (
	"net/http"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/keyring/lifecycle"
)

// Status is the answer to GET /admin/v1/status: an overview for operators, and the input of
// doctor. It holds no secret.
type Status struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	// Now is the broker's clock.
	Now         time.Time       `json:"now"`
	Ready       string          `json:"ready"` // ready, degraded or not_ready
	Checks      []httpapi.Check `json:"checks"`
	Issuer      string          `json:"issuer"`
	Listen      string          `json:"listen"`
	AdminListen string          `json:"admin_listen,omitempty"`
	DataDir     string          `json:"data_dir"`
	Origins     []string        `json:"origins"`
	Store       StoreStatus     `json:"store"`
	Ledger      LedgerStatus    `json:"ledger"`
	NATS        NATSStatus      `json:"nats"`
	// Connections are those of the public listener.
	Connections ConnectionsStatus `json:"connections"`
	Keys        []lifecycle.Label `json:"keys"`
	Providers   []ProviderStatus  `json:"providers"`
	// Services are those that sent a receipt within the last minute.
	Services []ServiceStatus `json:"services"`
	// Mailboxes are the messages waiting for each kind of actor.
	Mailboxes map[string]int `json:"mailboxes"`
}

// StoreStatus is the store on disk.
type StoreStatus struct {
	ID        string `json:"id"`
	Writable  bool   `json:"writable"`
	FreeBytes uint64 `json:"free_bytes"`
}

// LedgerStatus is the state of the revocations. Backlog is the number of batches that are recorded
// and not sent yet.
type LedgerStatus struct {
	Origin        string  `json:"origin"`
	Head          uint64  `json:"head"`
	Backlog       uint64  `json:"backlog"`
	OldestSeconds float64 `json:"oldest_seconds"`
}

// NATSStatus is the broker's connection; URL is without user and password.
type NATSStatus struct {
	URL       string `json:"url"`
	Embedded  bool   `json:"embedded"`
	Connected bool   `json:"connected"`
}

// ConnectionsStatus has the number and the limit of a listener's connections. PerAddress is the
// limit for one address.
type ConnectionsStatus struct {
	Open       int `json:"open"`
	Max        int `json:"max"`
	PerAddress int `json:"per_address"`
	// OpenFiles is the process's limit of open files (RLIMIT_NOFILE). If it is so low that Max is
	// less than configured, or very little, OpenFilesWanted is the limit to set.
	OpenFiles       int `json:"open_files"`
	OpenFilesWanted int `json:"open_files_wanted,omitempty"`
	// UnreadableForwarded counts the requests of trusted proxies since the start whose client is
	// unknown because an entry of X-Forwarded-For cannot be read.
	UnreadableForwarded uint64 `json:"unreadable_forwarded,omitempty"`
}

// ProviderStatus is one upstream provider. Issuer is the one that its users are known by,
// Issuers are those whose tokens are accepted.
type ProviderStatus struct {
	Name    string   `json:"name"`
	Issuer  string   `json:"issuer"`
	Issuers []string `json:"issuers,omitempty"`
	Ready   bool     `json:"ready"`
}

// ServiceStatus is the latest report of a service about itself. It is not verified.
type ServiceStatus struct {
	// Service is the name that the service reports: its id and a part that differs for each
	// process. Source is the channel and the sender: nats/ID or http/CLIENT.
	Service string `json:"service"`
	Source  string `json:"source"`
	// State is fresh, stale (the service reports that its knowledge is too old) or silent (no
	// report for 3 s).
	State string `json:"state"`
	// Awaited reports whether ?wait waits for the service: the configuration has a client or
	// service of its id.
	Awaited bool `json:"awaited,omitempty"`
	// Applied is the last batch of this broker up to which the service has all, Lag the number of
	// batches that it lacks.
	Applied uint64 `json:"applied"`
	Lag     uint64 `json:"lag"`
	// AgeMS is the age of its knowledge at its last report, and HeardMS the time since then, both
	// in milliseconds.
	AgeMS   int64 `json:"age_ms"`
	HeardMS int64 `json:"heard_ms"`
}

// status is GET /admin/v1/status.
func (a *handler) status(w http.ResponseWriter, r *http.Request) error {
	return httpapi.WriteJSON(w, http.StatusOK, a.cfg.Status(r.Context()))
}

// metrics is GET /metrics.
func (a *handler) metrics(w http.ResponseWriter, r *http.Request) error {
	a.cfg.Metrics.ServeHTTP(w, r)
	return nil
}

// ready is GET /readyz, as on the public listener.
func (a *handler) ready(w http.ResponseWriter, r *http.Request) error {
	return httpapi.Ready(w, r, a.cfg.Readiness(r.Context()))
}
