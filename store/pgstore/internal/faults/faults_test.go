package faults_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenbroker/internal/longtest"
	"tokenbroker/store"
	"tokenbroker/store/origins"
	"tokenbroker/store/pgstore/pgtest"
)

// TestFaults breaks servers while brokers use them. No acknowledged commit is lost, none happens twice, and no confirmed
// read is stale.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, c *cluster, l *load)
	}{
		{"the primary is killed", killPrimary},
		{"the primary restarts", restartPrimary},
		{"the primary is stopped", stopPrimary},
		{"the primary is replaced and not fenced", replacePrimary},
		{"the standby is stopped", stopStandby},
		{"the standby is killed", killStandby},
		{"connections are terminated while they commit", terminate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, pgtest.Spare())
			l := c.load(t)
			l.more(t, "before the fault")
			tc.run(t, c, l)
			l.more(t, "after the fault")
			l.finish(t, open(t, config(c.database)))
		})
	}
}

// promote makes the standby the primary and waits until the clients go on.
func promote(t *testing.T, c *cluster, l *load) {
	t.Helper()
	began := l.now()
	c.Standby().Promote(t)
	promoted := l.now()
	l.more(t, "after the promotion")
	t.Logf("the promotion took %s, the longest time without an acknowledged commit after it: %s",
		(promoted - began).Round(time.Millisecond), l.gap(promoted).Round(time.Millisecond))
}

func killPrimary(t *testing.T, c *cluster, l *load) {
	c.Primary().Kill(t)
	promote(t, c, l)
}

// restartPrimary kills the primary, which recovers: commits that it had not acknowledged become visible.
func restartPrimary(t *testing.T, c *cluster, l *load) {
	c.Primary().Kill(t)
	c.Primary().Restart(t)
	restarted := l.now()
	l.more(t, "after the restart")
	t.Logf("the longest time without an acknowledged commit after the restart: %s", l.gap(restarted).Round(time.Millisecond))
}

// stopPrimary stops the primary, whose connections stay open, and lets it go on after the promotion.
func stopPrimary(t *testing.T, c *cluster, l *load) {
	old := c.Primary()
	old.Stop(t)
	promote(t, c, l)
	old.Continue(t)
	l.more(t, "after the old primary goes on")
}

// replacePrimary promotes the standby while all brokers are connected to the primary, whose commits then wait. They leave it
// although it is the first server of their URL.
func replacePrimary(t *testing.T, c *cluster, l *load) {
	promote(t, c, l)
}

// stopStandby leaves a primary whose commits wait.
func stopStandby(t *testing.T, c *cluster, l *load) {
	c.Standby().Stop(t)
	withoutStandby(t, c, l)
	c.Standby().Continue(t)
}

func killStandby(t *testing.T, c *cluster, l *load) {
	c.Standby().Kill(t)
	withoutStandby(t, c, l)
	c.Standby().Restart(t)
}

// withoutStandby waits until the commits of all brokers wait. None of them is acknowledged.
func withoutStandby(t *testing.T, c *cluster, l *load) {
	t.Helper()
	eventually(t, "commits wait for the standby", func() bool { return waiting(t, c.Primary()) != "0" })
	acknowledged := l.acknowledged()
	hold(2*time.Second, 20*time.Second)
	if n := l.acknowledged() - acknowledged; n > 0 {
		t.Errorf("%d commits were acknowledged without a standby", n)
	}
}

// hold keeps a fault up for some time.
func hold(ordinary, long time.Duration) { time.Sleep(longtest.Pick(ordinary, long)) }

// terminate ends the connections of commits. The server tells those that wait for the standby that they are committed but may
// not be replicated.
func terminate(t *testing.T, c *cluster, l *load) {
	conn, err := pgx.Connect(t.Context(), c.database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for ended, goal := 0, longtest.Pick(200, 1000); ended < goal && !t.Failed(); {
		var n int
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event = 'SyncRep' LIMIT 1) AS ended`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		ended += n
	}
}

// TestLostCommitsAreNoticed promotes a standby that lacks acknowledged commits. The brokers end.
func TestLostCommitsAreNoticed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, pgtest.Asynchronous())
	config := config(c.database)
	local(&config)
	s := open(t, config)
	run, err := origins.Join(t.Context(), origins.Config{Engine: s, Name: "b", KEK: "k"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby has the record of the run", func() bool {
		return c.Primary().SQL(t, "postgres", "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()") == "1"
	})
	c.Standby().Detach(t)
	if errs := run.Commit(t.Context(), []store.Change{{}}, nil); errs[0] != nil {
		t.Fatal(errs[0])
	}
	c.Primary().Kill(t)
	c.Standby().Promote(t)
	eventually(t, "the run knows that commits were lost", func() bool { return errors.Is(run.Tick(t.Context()), origins.ErrRewound) })
	if errs := run.Commit(t.Context(), []store.Change{{}}, nil); !errors.Is(errs[0], origins.ErrRewound) {
		t.Errorf("a commit after others were lost: %v", errs[0])
	}
}

// TestTheDiskIsFull fills the disk of a server. Writes are refused, and accepted again when there is space.
func TestTheDiskIsFull(t *testing.T) {
	t.Parallel()
	c := newCluster(t, pgtest.Single(), pgtest.Disk(128<<20))
	l := c.load(t, local)
	l.more(t, "before the disk is full")
	full := config(c.database)
	local(&full)
	s := open(t, full)
	empty := fill(t, c.Primary())
	value := make([]byte, 60_000) // random, because the server compresses values: each needs new pages
	write := func(n int) error {
		_, _ = rand.Read(value)
		_, errs := s.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{
			{Key: fmt.Sprint("filler.", n), Value: value, Blind: true},
		}}}, nil)
		return errs[0]
	}
	n, refused := 0, map[string]int{}
	// If the write-ahead log needs space first, the server stops itself.
	eventually(t, "a write is refused as the disk is full", func() bool {
		n++
		err := write(n)
		if err != nil {
			refused[err.Error()]++
		}
		return errors.Is(err, store.ErrReadOnly) || !c.Primary().Running()
	})
	t.Logf("%d writes of 60 kB; refused: %v", n, refused)
	empty()
	if !c.Primary().Running() {
		c.Primary().Restart(t)
	}
	eventually(t, "a write is accepted", func() bool { return write(0) == nil })
	l.more(t, "after the disk has space")
	l.finish(t, s)
}
