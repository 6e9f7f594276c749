package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func (s *Server) conninfo(follows *Server) string {
	return fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%s user=%s application_name=%s'\n", follows.port, User, s.name)
}

// attached waits until a standby of the server receives what is written.
func (s *Server) attached() error {
	sql := "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
	if !s.cluster.async {
		sql += " AND (pg_is_in_recovery() OR sync_state = 'sync')"
	}
	return poll("PostgreSQL "+s.name+" has a standby", func() bool {
		out, err := s.psql("postgres", sql)
		return err == nil && out == "1"
	})
}

// Promote makes a standby the primary. It returns when it accepts writes. The server that it followed is not fenced.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	err := s.cluster.run(s.cluster.programs.path("pg_ctl"), "promote", "-w", "-D", s.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.cluster.promoted(s)
}

func (c *Cluster) promoted(s *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.chain) > 1 && c.chain[0] != s {
		c.chain = c.chain[1:]
	}
}

// Rejoin replaces the data of a server that is no longer in the chain by a copy of the primary's, and makes it the standby of the
// last server of the chain.
func (s *Server) Rejoin(t testing.TB) {
	t.Helper()
	if s.Running() {
		s.Kill(t)
	}
	s.removeSharedMemory()
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.rejoin(s); err != nil {
		t.Fatal(err)
	}
	c.chain = append(c.chain, s)
}

// removeSharedMemory removes what a killed server leaves. The seventh line of its lock file has the key and the id.
func (s *Server) removeSharedMemory() {
	text, err := os.ReadFile(filepath.Join(s.dir, "postmaster.pid"))
	if lines := strings.Split(string(text), "\n"); err == nil && len(lines) > 6 {
		if ids := strings.Fields(lines[6]); len(ids) == 2 {
			_ = s.cluster.run("ipcrm", "-m", ids[1]) // it is small, and gone after the next boot
		}
	}
}

func (c *Cluster) rejoin(s *Server) error {
	primary, last := c.chain[0], c.chain[len(c.chain)-1]
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	if err := c.run(c.programs.path("pg_basebackup"), "-D", s.dir, "-h", "127.0.0.1", "-p", primary.port, "-U", User, "-c", "fast", "-X", "stream"); err != nil {
		return err
	}
	if err := s.configure(nil, last); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	return last.attached()
}

// Detach makes a standby stop following, and waits until it has. Commits at the server that it followed wait.
func (s *Server) Detach(t testing.TB) {
	t.Helper()
	s.follow(t, "primary_conninfo = ''\n")
	err := poll("PostgreSQL "+s.name+" follows no server", func() bool {
		return s.SQL(t, "postgres", "SELECT count(*) FROM pg_stat_wal_receiver") == "0"
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Attach makes a standby follow another server, and waits until it does.
func (s *Server) Attach(t testing.TB, to *Server) {
	t.Helper()
	s.follow(t, s.conninfo(to))
	if err := to.attached(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) follow(t testing.TB, line string) {
	t.Helper()
	if err := s.write("postgresql.conf", line, os.O_APPEND); err != nil {
		t.Fatal(err)
	}
	signal(syscall.SIGHUP, []int{s.cmd.Process.Pid})
}
