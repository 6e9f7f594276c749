package pgstore

import (
	"context"
	"fmt"
	"time"
)

// Health is the state of the server and of the connections to it.
type Health struct {
	// Version is the server's, such as "15.18", and Host the address of the primary.
	Version, Host string
	// Durability is what an acknowledged commit has survived: "synchronous" (on the disks of the primary and of a standby) or "local".
	Durability string
	// Visible means that the role may see the standbys and the transactions of other roles (pg_read_all_stats). If not,
	// Standbys is empty and OldestTransaction is that of the broker's role.
	Visible bool
	// Standbys are the connected synchronous standbys, also those that the server would use if another one failed.
	Standbys []Standby
	// InUse, Idle and Max are the connections of this broker. Abandoned are those on which a commit runs that is no longer
	// waited for.
	InUse, Idle, Max, Abandoned int
	// Notifies means that notifications arrive; otherwise hints are sent each 200 ms.
	Notifies bool
	// TableBytes is the size of the records with their indexes. LiveRows and DeadRows are the server's estimates.
	TableBytes, LiveRows, DeadRows int64
	// OldestTransaction is the age of the oldest transaction of the database, which delays the removal of dead rows.
	OldestTransaction time.Duration
}

// Standby is a synchronous standby.
type Standby struct {
	Name string
	// State is that of the connection, such as "streaming", and Sync how the primary waits for the standby: "sync", "quorum"
	// or "potential".
	State, Sync string
	// LagBytes is how much of the write-ahead log the standby has not written to its disk. Lag is how long it took for
	// the latest part, or zero if it is not known.
	LagBytes int64
	Lag      time.Duration
}

const healthSQL = `SELECT current_setting('synchronous_standby_names') <> '', pg_has_role('pg_read_all_stats'::name, 'USAGE'::text),
	pg_total_relation_size(r.oid::regclass)::bigint, coalesce(t.n_live_tup, 0)::bigint, coalesce(t.n_dead_tup, 0)::bigint,
	coalesce((SELECT extract(epoch FROM max(clock_timestamp() - a.xact_start)) * 1000000::numeric FROM pg_stat_activity a
		WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()), 0)::bigint
	FROM (SELECT to_regclass($1)::oid AS oid) r LEFT JOIN pg_stat_user_tables t ON t.relid = r.oid`

const standbysSQL = `SELECT application_name, coalesce(state, ''), coalesce(sync_state, ''),
	coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn), 0)::bigint, coalesce(extract(epoch FROM flush_lag) * 1000000::numeric, 0)::bigint
	FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum', 'potential') ORDER BY 1`

// Health asks the server for its state. The times are those of its clock.
func (s *Store) Health(ctx context.Context) (Health, error) {
	var h Health
	err := s.read(ctx, func(ctx context.Context, c *conn, p *primary) error {
		h = Health{Version: p.version, Host: p.host, Durability: "local", Notifies: s.notified.Load()}
		var a args
		a.text(quoted(s.config.Schema) + ".records")
		err := query(ctx, c, healthSQL, a, func(values [][]byte) error {
			if isTrue(values[0]) {
				h.Durability = "synchronous"
			}
			h.Visible = isTrue(values[1])
			h.TableBytes, h.LiveRows, h.DeadRows = int64Of(values[2]), int64Of(values[3]), int64Of(values[4])
			h.OldestTransaction = time.Duration(int64Of(values[5])) * time.Microsecond
			return nil
		})
		if err != nil || !h.Visible {
			return err
		}
		return query(ctx, c, standbysSQL, args{}, func(values [][]byte) error {
			h.Standbys = append(h.Standbys, Standby{
				Name: string(values[0]), State: string(values[1]), Sync: string(values[2]),
				LagBytes: int64Of(values[3]), Lag: time.Duration(int64Of(values[4])) * time.Microsecond,
			})
			return nil
		})
	})
	if err != nil {
		return Health{}, fmt.Errorf("reading the state of PostgreSQL: %w", err)
	}
	pool := s.pool.Stat()
	h.InUse, h.Idle, h.Max = int(pool.AcquiredConns()), int(pool.IdleConns()), int(pool.MaxConns())
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Abandoned = len(s.abandoned)
	return h, nil
}

func isTrue(value []byte) bool { return len(value) == 1 && value[0] == 1 }
