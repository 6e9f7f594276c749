package admin

import "slices"

// PostgresStatus is the state of a PostgreSQL database and of the broker's connections to it.
type PostgresStatus struct {
	// OK reports whether the primary answered; otherwise Detail is the error, and the other members mean nothing.
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	// Host is the address of the primary, and Version that of its program.
	Host    string `json:"host,omitempty"`
	Version string `json:"version,omitempty"`
	// Durability is synchronous if a commit waits for the disk of a standby, or local if it waits only for the primary's.
	Durability string `json:"durability,omitempty"`
	// Visible reports whether the broker's role may see the standbys and the transactions of other roles.
	Visible bool `json:"visible"`
	// Standbys are the connected standbys that a commit waits for, or would wait for if another one failed.
	Standbys    []StandbyStatus `json:"standbys"`
	Connections PoolStatus      `json:"connections"`
	// Notifications reports whether the broker hears of changes by notifications, or asks each 200 ms.
	Notifications bool `json:"notifications"`
	// TableBytes is the size of the records with their indexes. LiveRows and DeadRows are the server's estimates.
	TableBytes int64 `json:"table_bytes"`
	LiveRows   int64 `json:"live_rows"`
	DeadRows   int64 `json:"dead_rows"`
	// OldestTransactionSeconds is the age of the oldest transaction of the database.
	OldestTransactionSeconds float64 `json:"oldest_transaction_seconds"`
}

// StandbyStatus is a standby. Sync is sync or quorum if commits wait for it, and potential if another one has to fail first.
type StandbyStatus struct {
	Name       string  `json:"name"`
	State      string  `json:"state"`
	Sync       string  `json:"sync"`
	LagBytes   int64   `json:"lag_bytes"`
	LagSeconds float64 `json:"lag_seconds"`
}

// PoolStatus counts the connections of the answering broker. Abandoned counts those whose commit has not ended, although the broker has
// stopped waiting for it.
type PoolStatus struct {
	InUse     int `json:"in_use"`
	Idle      int `json:"idle"`
	Max       int `json:"max"`
	Abandoned int `json:"abandoned"`
}

// Replicated reports whether a standby is connected that commits wait for, or none is needed. It is true if the standbys are not visible.
func (s *PostgresStatus) Replicated() bool {
	return s.Durability != "synchronous" || !s.Visible ||
		slices.ContainsFunc(s.Standbys, func(standby StandbyStatus) bool { return standby.Sync == "sync" || standby.Sync == "quorum" })
}
