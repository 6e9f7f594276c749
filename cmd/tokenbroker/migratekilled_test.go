package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/longtest"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/origins"
)

// seedSessions writes n records to the embedded store of a broker that does not run.
func seedSessions(t *testing.T, dataDir string, n int) {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Config{Dir: node.StoreDir(dataDir)})
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 450)
	end := time.Now().Add(30 * 24 * time.Hour).Unix()
	for i := 0; i < n; i += 500 {
		var change store.Change
		for j := range min(500, n-i) {
			change.Writes = append(change.Writes, store.Write{Key: fmt.Sprintf("session.moved.%08d", i+j), Value: value, ExpiresAt: end})
		}
		if err := s.Commit(t.Context(), []store.Change{change}, nil)[0]; err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// holds reports whether a broker may start with a store that has records, and how many sessions it has.
func holds(t *testing.T, from interface {
	store.Reader
	ledger.Records
}) (startable bool, sessions int) {
	t.Helper()
	id, _, err := ledger.StoreOf(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	err = origins.Startable(t.Context(), from)
	if err != nil && !errors.Is(err, origins.ErrMoved) && !errors.Is(err, origins.ErrMaintenance) {
		t.Fatal(err)
	}
	if e := from.Each(t.Context(), "session.moved.", func(store.Write) error { sessions++; return nil }); e != nil {
		t.Fatal(e)
	}
	return err == nil && id != "", sessions
}

// TestAMigrationKilledAtAnyTime kills the process of a migration at random times until one has finished, in both directions. At no time
// brokers can start with both stores.
func TestAMigrationKilledAtAnyTime(t *testing.T) {
	longtest.SkipShort(t, "starts a broker, three etcd members and many migrations")
	const sessions = 10_000
	b := newMovedBroker(t, map[string]string{"badger": "{engine: badger}", "etcd": ""})
	startBroker(t, "tokenbroker is ready", b.serveFlags("badger")...).terminate(t)
	seedSessions(t, b.data(0), sessions)
	etcd, err := etcdstore.Open(t.Context(), etcdstore.Config{Endpoints: b.endpoints, Prefix: "tokenbroker/", TryFor: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	both := func() (badger, shared bool, n int) {
		s, err := badgerstore.Open(badgerstore.Config{Dir: node.StoreDir(b.data(0))})
		if err != nil {
			t.Fatal(err)
		}
		badger, n = holds(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		shared, m := holds(t, etcd)
		if shared {
			n = m
		}
		return badger, shared, n
	}
	for _, way := range [][2]string{{"badger", "etcd"}, {"etcd", "badger"}} {
		kills := 0
		for ; kills < 3; kills++ {
			args := []string{"migrate", "--from", b.configs[way[0]], "--to", b.configs[way[1]], "--yes"}
			p := startProcess(t, "", []string{childEnv + "=1"}, os.Args[0], args...)
			at := time.Duration(100+rand.IntN(1500)) * time.Millisecond
			if kills > 0 {
				at += 6 * time.Second // until it is certain that the one before does not run
			}
			select {
			case <-p.done: // the machine is fast
				if p.cmd.ProcessState.ExitCode() != terminal.ExitOK {
					t.Fatalf("migrate: %s", p.out.String())
				}
			case <-time.After(at): // the moment of the kill
			}
			_ = p.cmd.Process.Kill() // it may end now
			<-p.done
			badger, shared, n := both()
			if badger && shared {
				t.Fatalf("from %s to %s: brokers start with both stores", way[0], way[1])
			}
			if (badger || shared) && n != sessions {
				t.Fatalf("from %s to %s: brokers start with %d of %d sessions", way[0], way[1], n, sessions)
			}
		}
		got := b.migrate(t, way[0], way[1], terminal.ExitOK)
		badger, shared, n := both()
		if badger != (way[1] == "badger") || shared != (way[1] == "etcd") || n != sessions {
			t.Fatalf("from %s to %s: startable: badger %t, etcd %t with %d sessions", way[0], way[1], badger, shared, n)
		}
		t.Logf("from %s to %s after %d kills: %s", way[0], way[1], kills, got.stdout)
	}
}
