package faults_test

import (
	"net/url"
	"strings"
	"testing"

	"tokenbroker/store/pgstore/pgtest"
)

// postgres is the servers of a cluster: a primary, its synchronous standby, and the standby of that one.
type postgres struct {
	*pgtest.Cluster
	servers []*pgtest.Server // server j is behind the links engine[i][j]
}

// newPostgresCluster starts a cluster on PostgreSQL.
func newPostgresCluster(t *testing.T) *cluster {
	t.Helper()
	needProcesses(t)
	c := &cluster{t: t, dir: t.TempDir(), brokers: make([]*process, size), pg: &postgres{Cluster: pgtest.Start(t, pgtest.Spare())}}
	c.pg.servers = c.pg.Servers()
	var addrs []string
	for _, s := range c.pg.servers {
		addrs = append(addrs, s.Addr())
	}
	database, err := url.Parse(c.pg.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	c.store = func(servers []string) string {
		database.Host = strings.Join(servers, ",")
		return `engine: postgres, postgres: {url: "` + database.String() + `"}`
	}
	c.start(t, addrs, func() {
		program, err := brokerProgram()
		if err != nil {
			t.Fatal(err)
		}
		if out, err := command(t, program, "store", "init", "--config", c.configFile(0)).CombinedOutput(); err != nil {
			t.Fatalf("store init: %v\n%s", err, out)
		}
	})
	return c
}
