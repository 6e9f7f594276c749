package doctor

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/store/pgstore"
)

const (
	// postgresLag is the delay of a standby from which it is reported: every commit waits for it.
	postgresLag = time.Second
	// postgresOldest is the age of a transaction from which it is reported.
	postgresOldest = 10 * time.Minute
	// postgresDead is the least number of dead rows that is reported, if it is also more than the live ones.
	postgresDead = 100_000
)

// postgres connects to the database as the broker does, which checks the version, the durability, the schema and the rights of the role.
func postgres(ctx context.Context, cfg pgstore.Config) []Finding {
	cfg.Logger = slog.New(slog.DiscardHandler) // the findings report the errors
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	opened, err := pgstore.Open(ctx, cfg)
	if err != nil {
		hint := "check that the primary runs and that this machine reaches it, store.postgres in the configuration, and the password"
		for _, known := range []error{pgstore.ErrNoSchema, pgstore.ErrOldSchema, pgstore.ErrNewSchema, pgstore.ErrStandby, pgstore.ErrNotReplicated, pgstore.ErrVersion} {
			if errors.Is(err, known) {
				hint = "no broker starts until this is done; see \"PostgreSQL\" in docs/operate.md"
			}
		}
		return []Finding{{"postgres", Fail, err.Error(), hint}}
	}
	defer func() { _ = opened.Close() }()
	return append(database(*node.PostgresStatus(opened.Health(ctx))), maintenance(ctx, "postgres", opened)...)
}

// database judges the state of a primary and its standbys.
func database(s admin.PostgresStatus) []Finding {
	primary := Finding{Check: "postgres", Level: OK, Detail: printer.Postgres(s)}
	if !s.OK {
		primary.Level, primary.Hint = Fail, "check that the primary runs: without it the brokers refuse sign-ins, refreshes and log-offs"
		return []Finding{primary}
	}
	found := []Finding{primary}
	for _, standby := range s.Standbys {
		f := Finding{Check: "postgres standby", Level: OK, Detail: printer.Standby(standby)}
		if standby.Sync != "potential" && standby.LagSeconds > postgresLag.Seconds() {
			f.Level, f.Hint = Warn, "each commit waits for the standby's disk: check its disk and the network between the servers"
		}
		found = append(found, f)
	}
	switch {
	case !s.Replicated():
		found = append(found, Finding{"postgres standby", Fail, "none is connected: commits wait for one, and brokers answer 503",
			"start a standby that synchronous_standby_names names, or name another one there"})
	case !s.Visible:
		found = append(found, Finding{"postgres standby", Skip, "the broker's role may not see the standbys", "GRANT pg_read_all_stats to the role, which lets it read statistics"})
	}
	if s.DeadRows > postgresDead && s.DeadRows > s.LiveRows {
		found = append(found, Finding{"postgres vacuum", Warn, itoa(int(s.DeadRows)) + " dead rows, more than live ones",
			"check that autovacuum is on, and that no old transaction, replication slot or prepared transaction keeps dead rows"})
	}
	if oldest := time.Duration(s.OldestTransactionSeconds * float64(time.Second)); oldest > postgresOldest {
		found = append(found, Finding{"postgres transactions", Warn, "the oldest one has run for " + oldest.Round(time.Second).String(),
			"end it: dead rows stay until then, and every read becomes slower"})
	}
	return found
}
