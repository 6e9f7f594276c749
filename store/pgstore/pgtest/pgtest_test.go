package pgtest_test

import (
	"bufio"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/store/pgstore/pgtest"
)

// crashEnv has the test binary start a cluster and end without stopping it.
const crashEnv = "TEST_PGTEST_CRASH"

func TestMain(m *testing.M) {
	if os.Getenv(crashEnv) != "" {
		crash()
	}
	os.Exit(m.Run())
}

func database(t *testing.T, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never: " + what)
}

// insert inserts a row and returns a channel that is closed when the server has acknowledged it.
func insert(t *testing.T, s *pgtest.Server, db, value string) (acknowledged chan struct{}) {
	acknowledged = make(chan struct{})
	cmd := exec.Command("psql", "-XAtq", "-h", "127.0.0.1", "-p", strings.TrimPrefix(s.Addr(), "127.0.0.1:"), "-U", pgtest.User, "-d", db, "-c", "INSERT INTO t VALUES ("+value+")")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if cmd.Wait() == nil {
			close(acknowledged)
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	return acknowledged
}

// waits waits until n commits of a server wait for a standby.
func waits(t *testing.T, s *pgtest.Server, n string) {
	t.Helper()
	eventually(t, n+" commits wait", func() bool {
		return s.SQL(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == n
	})
}

// A commit waits while the standby is away, and is acknowledged when it is back.
func TestCommitsWaitForTheStandby(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	db := database(t, c.Database(t))
	primary, standby := c.Primary(), c.Standby()
	primary.SQL(t, db, "CREATE TABLE t (n int)")
	for _, tc := range []struct {
		name       string
		away, back func()
	}{
		{"stopped", func() { standby.Stop(t) }, func() { standby.Continue(t) }},
		{"killed", func() { standby.Kill(t) }, func() { standby.Restart(t) }},
		{"killed while it is stopped", func() { standby.Stop(t); standby.Kill(t) }, func() { standby.Restart(t) }},
		{"detached", func() { standby.Detach(t) }, func() { standby.Attach(t, primary) }},
	} {
		tc.away()
		acknowledged := insert(t, primary, db, "1")
		waits(t, primary, "1")
		tc.back()
		<-acknowledged
	}
	if n := standby.SQL(t, db, "SELECT count(*) FROM t"); n != "4" {
		t.Errorf("the standby has %s rows", n)
	}
}

// A promoted standby has all that was acknowledged. The old primary that runs again acknowledges nothing.
func TestAStandbyIsPromoted(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *pgtest.Server){
		"killed": func(t *testing.T, s *pgtest.Server) { s.Kill(t) }, "stopped": func(t *testing.T, s *pgtest.Server) { s.Stop(t) },
		"detached": func(*testing.T, *pgtest.Server) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pgtest.Start(t, pgtest.Spare())
			db := database(t, c.Database(t))
			old, next := c.Primary(), c.Standby()
			old.SQL(t, db, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
			end(t, old)
			next.Promote(t)
			if c.Primary() != next {
				t.Error("the promoted server is not the primary")
			}
			next.SQL(t, db, "INSERT INTO t VALUES (2)")
			if rows := next.SQL(t, db, "SELECT n FROM t ORDER BY n"); rows != "1\n2" {
				t.Errorf("the promoted server has %q", rows)
			}
			switch name {
			case "killed":
				old.Restart(t)
			case "stopped":
				old.Continue(t)
			}
			acknowledged := insert(t, old, db, "3")
			waits(t, old, "1")
			select {
			case <-acknowledged:
				t.Error("a primary without a standby acknowledged a commit")
			default:
			}
			if old.Rejoin(t); next.SQL(t, db, "SELECT count(*) FROM t") != "2" {
				t.Error("the promoted server has rows of the old primary")
			}
			eventually(t, "the old primary has the rows of the promoted server", func() bool { return old.SQL(t, db, "SELECT n FROM t ORDER BY n") == "1\n2" })
			c.Standby().Promote(t)
			if c.Standby() != old {
				t.Error("the old primary is not the standby of the spare")
			}
			c.Primary().SQL(t, db, "INSERT INTO t VALUES (4)")
		})
	}
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Single())
	databaseURL := c.Database(t)
	out, err := exec.Command("psql", "-XAtq", c.Bouncer(t, databaseURL), "-c", "SELECT current_user, current_database()").CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != pgtest.User+"|"+database(t, databaseURL) {
		t.Errorf("%v: %s", err, got)
	}
}

// crash ends the process while one of its servers is stopped.
func crash() {
	c, err := pgtest.Open()
	if err != nil {
		panic(err)
	}
	c.Primary().Stop(&testing.T{})
	_, _ = os.Stdout.WriteString(c.Primary().Dir() + "\n")
	panic("crash")
}

// TestNothingIsLeft ends a process without stopping its servers.
func TestNothingIsLeft(t *testing.T) {
	pgtest.Start(t, pgtest.Single()) // skips the test where PostgreSQL is missing
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Wait() == nil {
		t.Error("the process did not crash")
	}
	dir = filepath.Dir(strings.TrimSpace(dir))
	eventually(t, "the directory is removed", func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) })
	eventually(t, "the servers and the watchdog have ended", func() bool {
		found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		return !slices.ContainsFunc(found, func(file string) bool {
			line, _ := os.ReadFile(file)
			return strings.Contains(string(line), dir)
		})
	})
}
