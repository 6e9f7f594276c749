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
	// Cluster has the brokers that share the store. It is missing if the store has only one broker.
	Cluster *ClusterStatus `json:"cluster,omitempty"`
	// Mailboxes are the messages waiting for each kind of actor.
	Mailboxes map[string]int `json:"mailboxes"`
}

// StoreStatus is the store. FreeBytes is the free space on its disk, 0 if the store is not on a disk of the broker.
type StoreStatus struct {
	ID        string `json:"id"`
	Writable  bool   `json:"writable"`
	FreeBytes uint64 `json:"free_bytes"`
	// Engine is badger, or etcd or postgres if several brokers share the store. It is missing in answers of earlier versions.
	Engine string `json:"engine,omitempty"`
	// Version is the version of the records: a program that cannot use it does not start. It is missing in answers of
	// earlier versions.
	Version int `json:"version,omitempty"`
	// Members are the servers of an etcd cluster, as the broker last saw them.
	Members []EngineMember `json:"members,omitempty"`
	// Postgres is the primary of a PostgreSQL database, as the broker last saw it.
	Postgres *PostgresStatus `json:"postgres,omitempty"`
}

// EngineMember is one server of an etcd cluster.
type EngineMember struct {
	Endpoint string `json:"endpoint"`
	// OK reports whether it answers and knows a leader; otherwise Detail is what is wrong.
	OK      bool   `json:"ok"`
	Detail  string `json:"detail,omitempty"`
	Version string `json:"version,omitempty"`
	// Leader reports whether it is the leader.
	Leader bool `json:"leader,omitempty"`
	// SizeBytes is the size of its database, of which InUseBytes are not free, and QuotaBytes the limit, which is missing if it
	// is not known.
	SizeBytes  int64 `json:"size_bytes,omitempty"`
	InUseBytes int64 `json:"in_use_bytes,omitempty"`
	QuotaBytes int64 `json:"quota_bytes,omitempty"`
	// Alarms are those that it reports, such as NOSPACE.
	Alarms []string `json:"alarms,omitempty"`
}

// ClusterStatus is the state of the brokers that share a store, as the answering broker last read it.
type ClusterStatus struct {
	// Name is the name of the answering broker.
	Name string `json:"name"`
	// ClockOffsetMS is by how much its clock is ahead of the median of all brokers, in milliseconds.
	ClockOffsetMS int64 `json:"clock_offset_ms"`
	// Brokers are all runs of brokers on record. One that has ended stays until its revocations are collected.
	Brokers []BrokerStatus `json:"brokers"`
	// OutdatedServices are the services, heard by the answering broker, that do not understand several
	// brokers and become stale as soon as two are running.
	OutdatedServices []string `json:"outdated_services"`
}

// BrokerStatus is one run of a broker.
type BrokerStatus struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Origin  string    `json:"origin"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
	Live    bool      `json:"live"`
	// Speaks has the lowest and the highest version of the store that the broker can use.
	Speaks [2]int `json:"speaks"`
	// ClockOffsetMS is by how much its clock is ahead of that of the answering broker, in milliseconds. It is missing if they
	// have not been compared.
	ClockOffsetMS *int64 `json:"clock_offset_ms,omitempty"`
	// EngineMS is how long it last took to read the records of all brokers from the shared store, in milliseconds, as of the
	// last 5 s of a live one. It is missing if it is not known.
	EngineMS float64 `json:"engine_ms,omitempty"`
	// Collector reports whether it deletes expired revocations, which one broker does for all.
	Collector bool `json:"collector,omitempty"`
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
	// Speaks is the version of the feed's protocol in its last receipt. It is missing if the receipt has none: such a
	// service, and one below 2, cannot follow several brokers.
	Speaks int `json:"speaks,omitempty"`
	// Speaker is the origin of the broker that the service hears, as its last receipt states, and SpeakerName the name of
	// that broker. They are missing if the service does not report it, or if the origin is not on record.
	Speaker     string `json:"speaker,omitempty"`
	SpeakerName string `json:"speaker_name,omitempty"`
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
