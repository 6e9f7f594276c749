package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/origins"
)

const (
	engineTimeout = 5 * time.Second
	// etcdFull is the share of the quota from which the size of a database is reported.
	etcdFull = 0.7
	// etcdSpare is the least number of members that survive the loss of one.
	etcdSpare = 3
)

// engine checks the servers of a shared store: it connects to them as the broker does, or, without a configuration, uses what
// the running broker knows of them.
func engine(ctx context.Context, s Subject) []Finding {
	switch {
	case s.Etcd != nil:
		return etcd(ctx, *s.Etcd)
	case s.Postgres != nil:
		return postgres(ctx, *s.Postgres)
	case s.Status != nil && s.Status.Store.Postgres != nil:
		return database(*s.Status.Store.Postgres)
	case s.Status != nil:
		return members(s.Status.Store.Members)
	}
	return nil
}

func etcd(ctx context.Context, cfg etcdstore.Config) []Finding {
	cfg.Logger = slog.New(slog.DiscardHandler) // the findings report the errors
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	opened, err := etcdstore.Open(ctx, cfg)
	if err != nil {
		return []Finding{{"etcd", Fail, err.Error(), "check that a majority of the members runs, store.etcd in the configuration, and the user's rights to " + cfg.Prefix}}
	}
	defer func() { _ = opened.Close() }()
	return append(members(node.MembersOf(ctx, opened)), maintenance(ctx, "etcd", opened)...)
}

// maintenance reports a program that has the brokers' store for itself and has not finished, and a store that was moved.
func maintenance(ctx context.Context, engine string, from store.Reader) []Finding {
	m, err := origins.ReadMaintenance(ctx, from)
	switch {
	case err != nil:
		return []Finding{{engine + " records", Fail, err.Error(), "check the servers, and the broker's rights to the records"}}
	case m.What != "":
		return []Finding{{engine + " records", Fail, "'tokenbroker " + m.What + "' has not finished: no broker starts", "wait until it has; if it was interrupted, run it again"}}
	}
	if err := origins.Startable(ctx, from); err != nil { // it was moved
		return []Finding{{engine + " records", Fail, err.Error(), "use the configuration of the other store"}}
	}
	return nil
}

// members judges the state of the members of a cluster.
func members(all []admin.EngineMember) []Finding {
	var found []Finding
	for _, m := range all {
		f := Finding{Check: "etcd", Level: OK, Detail: printer.Member(m)}
		switch {
		case !m.OK:
			f.Level, f.Hint = Warn, "start this member, or remove it from the cluster and from store.etcd.endpoints: without a majority of the members the brokers refuse sign-ins, refreshes and log-offs"
		case len(m.Alarms) > 0:
			f.Level, f.Hint = Fail, "NOSPACE: compact and defragment the database or raise its quota, then run 'etcdctl alarm disarm'; CORRUPT: replace this member"
		case m.QuotaBytes > 0 && float64(m.SizeBytes) > etcdFull*float64(m.QuotaBytes):
			f.Level, f.Hint = Warn, "the database nears its quota, at which writes are refused: check that auto-compaction is on, defragment it, or raise --quota-backend-bytes"
		}
		found = append(found, f)
	}
	if n := len(all); n > 0 && n < etcdSpare {
		found = append(found, Finding{"etcd members", Warn, fmt.Sprintf("%d configured: none may fail", n), "run three members, and name all of them in store.etcd.endpoints"})
	}
	return found
}
