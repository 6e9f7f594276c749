package node

import (
	"context"
	"math"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/store/pgstore"
)

// postgresEngine is implemented by an engine on PostgreSQL.
type postgresEngine interface {
	// Full reports whether the server refused the last commit because its disk is full.
	Full() bool
	// Health asks the primary for its state. ctx should have a deadline.
	Health(ctx context.Context) (pgstore.Health, error)
}

// postgresState is the answer of the primary when it was last asked for its state, or the error.
type postgresState struct {
	health pgstore.Health
	err    error
}

// watchPostgres asks the primary for its state until ctx ends.
func (c *cluster) watchPostgres(ctx context.Context, engine postgresEngine) error {
	tick := time.NewTicker(membersEvery)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, tickTimeout)
		health, err := engine.Health(limited)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		c.postgres.Store(&postgresState{health, err})
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// postgresHealth returns the state of the primary, or nil if it did not answer when it was last asked, or was never asked.
func (c *cluster) postgresHealth() *pgstore.Health {
	if state := c.postgres.Load(); state != nil && state.err == nil {
		return &state.health
	}
	return nil
}

// postgresStatus returns the state of the primary for operators, or nil if the engine has none, or was never asked.
func (c *cluster) postgresStatus() *admin.PostgresStatus {
	if c == nil {
		return nil
	}
	state := c.postgres.Load()
	if state == nil {
		return nil
	}
	return PostgresStatus(state.health, state.err)
}

// PostgresStatus returns a state of the primary, or the error of asking for it, for operators.
func PostgresStatus(h pgstore.Health, err error) *admin.PostgresStatus {
	if err != nil {
		return &admin.PostgresStatus{Detail: err.Error(), Standbys: []admin.StandbyStatus{}}
	}
	s := &admin.PostgresStatus{
		OK: true, Host: h.Host, Version: h.Version, Durability: h.Durability, Visible: h.Visible, Standbys: []admin.StandbyStatus{},
		Connections:   admin.PoolStatus{InUse: h.InUse, Idle: h.Idle, Max: h.Max, Abandoned: h.Abandoned},
		Notifications: h.Notifies, TableBytes: h.TableBytes, LiveRows: h.LiveRows, DeadRows: h.DeadRows,
		OldestTransactionSeconds: h.OldestTransaction.Seconds(),
	}
	for _, standby := range h.Standbys {
		s.Standbys = append(s.Standbys, admin.StandbyStatus{
			Name: standby.Name, State: standby.State, Sync: standby.Sync, LagBytes: standby.LagBytes, LagSeconds: standby.Lag.Seconds(),
		})
	}
	return s
}

// postgresCheck is degraded while the primary does not answer, or has no synchronous standby, for which its commits then wait.
func (c *cluster) postgresCheck() httpapi.Check {
	check := httpapi.Check{Name: "engine", OK: true}
	state := c.postgres.Load()
	switch {
	case state == nil:
	case state.err != nil:
		check.Degraded, check.Detail = true, "the PostgreSQL primary does not answer"
	case !PostgresStatus(state.health, nil).Replicated():
		check.Degraded, check.Detail = true, "no synchronous standby of PostgreSQL is connected: commits wait for one"
	}
	return check
}

// postgresGauges registers what is known of the primary and its standbys.
func (c *cluster) postgresGauges() {
	m := c.metrics
	m.Gauge("tokenbroker_postgres_up", "Whether the primary answered when it was last asked for its state (1) or not (0). If not, its other metrics are NaN or missing.", func() float64 {
		return metrics.Bool(c.postgresHealth() != nil)
	})
	gauge := func(name, help string, of func(*pgstore.Health) float64) {
		m.Gauge(name, help, func() float64 {
			if h := c.postgresHealth(); h != nil {
				return of(h)
			}
			return math.NaN()
		})
	}
	gauges := func(name, help, label string, of func(*pgstore.Health) map[string]float64) {
		m.Gauges(name, help, label, func() map[string]float64 {
			if h := c.postgresHealth(); h != nil {
				return of(h)
			}
			return nil
		})
	}
	gauge("tokenbroker_postgres_synchronous", "Whether a commit waits for the disk of a standby (1) or only for that of the primary (0).", func(h *pgstore.Health) float64 {
		return metrics.Bool(h.Durability == "synchronous")
	})
	gauge("tokenbroker_postgres_statistics_visible", "Whether the broker's role may read the statistics of standbys and of other roles (1) or not (0); grant it pg_read_all_stats.", func(h *pgstore.Health) float64 {
		return metrics.Bool(h.Visible)
	})
	gauges("tokenbroker_postgres_standbys", "Connected standbys, by how the primary waits for them: sync, quorum, or potential if another one has to fail first. Missing without the right to read statistics.", "sync", standbysOf)
	gauges("tokenbroker_postgres_standby_lag_bytes", "Write-ahead log that a standby has not written to its disk, by the standby's name.", "standby", func(h *pgstore.Health) map[string]float64 {
		return lagOf(h, func(s pgstore.Standby) float64 { return float64(s.LagBytes) })
	})
	gauges("tokenbroker_postgres_standby_lag_seconds", "How long a standby took to write the latest part of the write-ahead log to its disk, by the standby's name.", "standby", func(h *pgstore.Health) map[string]float64 {
		return lagOf(h, func(s pgstore.Standby) float64 { return s.Lag.Seconds() })
	})
	gauges("tokenbroker_postgres_connections", "Connections of this broker, by state: in_use, idle, or abandoned (with a commit that is no longer waited for).", "state", func(h *pgstore.Health) map[string]float64 {
		return map[string]float64{"in_use": float64(h.InUse), "idle": float64(h.Idle), "abandoned": float64(h.Abandoned)}
	})
	gauge("tokenbroker_postgres_connections_max", "Connections that this broker may have.", func(h *pgstore.Health) float64 { return float64(h.Max) })
	gauge("tokenbroker_postgres_notifications", "Whether notifications of other brokers' commits arrive (1), or the broker polls instead (0).", func(h *pgstore.Health) float64 {
		return metrics.Bool(h.Notifies)
	})
	gauge("tokenbroker_postgres_table_bytes", "Size of the table of records with its indexes.", func(h *pgstore.Health) float64 { return float64(h.TableBytes) })
	gauges("tokenbroker_postgres_rows", "Rows of the table of records as the server estimates them, by state: live, or dead until a vacuum removes them.", "state", func(h *pgstore.Health) map[string]float64 {
		return map[string]float64{"live": float64(h.LiveRows), "dead": float64(h.DeadRows)}
	})
	gauge("tokenbroker_postgres_oldest_transaction_seconds", "Age of the oldest transaction that the broker's role sees, which keeps dead rows from being removed.", func(h *pgstore.Health) float64 {
		return h.OldestTransaction.Seconds()
	})
}

// standbysOf counts the standbys by how the primary waits for them. It is empty if they are not visible.
func standbysOf(h *pgstore.Health) map[string]float64 {
	if !h.Visible {
		return nil
	}
	standbys := map[string]float64{"sync": 0, "quorum": 0, "potential": 0}
	for _, s := range h.Standbys {
		if _, known := standbys[s.Sync]; known {
			standbys[s.Sync]++
		}
	}
	return standbys
}

// lagOf returns the lag by standby, the largest of those with the same name.
func lagOf(h *pgstore.Health, lag func(pgstore.Standby) float64) map[string]float64 {
	lags := make(map[string]float64, len(h.Standbys))
	for _, s := range h.Standbys {
		lags[s.Name] = max(lags[s.Name], lag(s))
	}
	return lags
}
