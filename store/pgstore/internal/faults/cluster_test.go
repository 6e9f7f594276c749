package faults_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tokenbroker/internal/longtest"
	"tokenbroker/store"
	"tokenbroker/store/pgstore"
	"tokenbroker/store/pgstore/pgtest"
)

// cluster is PostgreSQL servers with an empty store.
type cluster struct {
	*pgtest.Cluster
	database string // its URL at all servers
}

func newCluster(t *testing.T, opts ...pgtest.Option) *cluster {
	t.Helper()
	longtest.SkipShort(t, "breaks PostgreSQL servers")
	c := &cluster{Cluster: pgtest.Start(t, opts...)}
	c.database = c.Database(t)
	config := config(c.database)
	config.LocalDurability = true
	if err := pgstore.Init(t.Context(), config, ""); err != nil {
		t.Fatal(err)
	}
	return c
}

// local accepts servers without a synchronous standby.
func local(config *pgstore.Config) { config.LocalDurability = true }

func config(databaseURL string) pgstore.Config {
	return pgstore.Config{URL: databaseURL, TryFor: 500 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// open opens the store for one broker.
func open(t *testing.T, config pgstore.Config) *pgstore.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var s *pgstore.Store
	eventually(t, "a server that answers", func() bool { // on a busy machine it may take longer than Open waits
		var err error
		if s, err = pgstore.Open(ctx, config); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// load starts the load of all brokers. Each of them has a store of its own.
func (c *cluster) load(t *testing.T, change ...func(*pgstore.Config)) *load {
	t.Helper()
	var engines []store.Engine
	for range brokers {
		config := config(c.database)
		for _, change := range change {
			change(&config)
		}
		engines = append(engines, open(t, config))
	}
	return startLoad(t, engines)
}

// at returns the URL of a database at one server.
func at(t *testing.T, databaseURL string, s *pgtest.Server) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = s.Addr()
	return u.String()
}

// waiting returns how many commits at a server wait for its standby.
func waiting(t *testing.T, s *pgtest.Server) string {
	t.Helper()
	return s.SQL(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
}

// fill fills the filesystem of a server, and returns a function that makes space again.
func fill(t *testing.T, s *pgtest.Server) (empty func()) {
	t.Helper()
	file := filepath.Join(filepath.Dir(s.Dir()), "filler")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; size /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		err = nil
	}
	return func() {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}
