package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
	"tokenbroker/store/pgstore/pgtest"
)

// brokerRole is the role of the brokers in tests. It has only the rights that 'store init' grants.
const brokerRole = "broker"

// postgresBrokers are brokers on a primary with a synchronous standby, which has one itself.
type postgresBrokers struct {
	*sharedBrokers
	cluster  *pgtest.Cluster
	database string
	owner    string // the configuration for the owner of the database
	ownerURL string // the URL of the database for its owner
}

func newPostgresBrokers(t *testing.T, c *pgtest.Cluster) *postgresBrokers {
	t.Helper()
	owner := c.Database(t)
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(brokerRole)
	c.Primary().SQL(t, "postgres", fmt.Sprintf("DO $$ BEGIN IF to_regrole('%[1]s') IS NULL THEN CREATE ROLE %[1]s LOGIN; END IF; END $$", brokerRole))
	b := &postgresBrokers{cluster: c, database: u.Path[1:], ownerURL: owner, sharedBrokers: newSharedBrokers(t, t.TempDir(), fmt.Sprintf("{engine: postgres, postgres: {url: %q}}", u))}
	text, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	b.owner = filepath.Join(b.dir, "owner.yaml")
	if err := os.WriteFile(b.owner, []byte(strings.Replace(string(text), u.String(), owner, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// initStore runs 'store init' as the owner of the database.
func (b *postgresBrokers) initStore(t *testing.T) {
	t.Helper()
	got := command(t, nil, "store", "init", "--config", b.owner, "--role", brokerRole)
	if got.code != terminal.ExitOK || got.stdout != "the PostgreSQL schema tokenbroker is ready, version 1\nthe role broker may use it\n" {
		t.Fatalf("store init: exit code %d: %s%s", got.code, got.stdout, got.stderr)
	}
}

// TestBrokersOnPostgres uses brokers whose role has only the rights that 'store init' grants, and that to see the standbys.
func TestBrokersOnPostgres(t *testing.T) {
	longtest.SkipShort(t, "starts three brokers and three PostgreSQL servers")
	b := newPostgresBrokers(t, pgtest.Start(t, pgtest.Spare()))
	b.initStore(t)
	b.initStore(t) // nothing to do
	b.cluster.Primary().SQL(t, "postgres", "GRANT pg_read_all_stats TO "+brokerRole)
	b.use(t, b)
}

// shown implements sharedEngine.
func (b *postgresBrokers) shown(status string) bool {
	return strings.Contains(status, ", on postgres") && strings.Contains(status, ", durability synchronous") && strings.Contains(status, ", streaming, sync, ")
}

// failureShown implements sharedEngine.
func (b *postgresBrokers) failureShown(status string) bool {
	return strings.Contains(status, b.cluster.Primary().Addr()+", version ")
}

// elsewhere implements sharedEngine.
func (b *postgresBrokers) elsewhere() string { return "store.postgres.schema" }

// fail implements sharedEngine.
func (b *postgresBrokers) fail(t *testing.T) {
	t.Helper()
	b.cluster.Primary().Kill(t)
	b.cluster.Standby().Promote(t)
}

// stop implements sharedEngine.
func (b *postgresBrokers) stop(t *testing.T) {
	t.Helper()
	for _, s := range b.cluster.Servers() {
		if s.Running() {
			s.Kill(t)
		}
	}
}
