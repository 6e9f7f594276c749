// Package pgtest runs PostgreSQL servers for tests: a primary with a synchronous standby, which can be killed, stopped,
// detached and promoted, and a PgBouncer. The programs are those of the operating system: Debian's packages postgresql and
// pgbouncer. Servers listen on loopback only and accept every user, keep their data in a temporary directory,
// and call fsync as in production.
//
// Linux only. The servers refuse to run as root. A test that runs as root starts them as the user postgres.
package pgtest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/internal/freeport"
)

// Errors of [Open].
var (
	// ErrMissing is returned where PostgreSQL's programs are not installed.
	ErrMissing = errors.New("PostgreSQL 14 or newer is not installed: apt-get install postgresql")
	// ErrNoDisk is returned for [Disk] where this process must not mount filesystems.
	ErrNoDisk = errors.New("mounting a small filesystem needs root and CAP_SYS_ADMIN")
)

// User is the role that owns the databases of a [Cluster]. It is a superuser and has no password.
const User = "tokenbroker"

// patience bounds each wait. It is long enough for a busy machine.
const patience = time.Minute

// Cluster is a chain of PostgreSQL servers: the first is the primary, and each other one is the standby of the one before it.
// A primary waits for its standby before it acknowledges a commit. With three servers, the standby has a synchronous standby as
// soon as it is promoted.
type Cluster struct {
	programs  programs
	dir       string // owned by the user of the servers
	watchdog  *watchdog
	async     bool // no server has a synchronous standby
	databases atomic.Int64
	release   func() // of the ports

	mu      sync.Mutex
	chain   []*Server // guarded by mu: the primary first
	servers []*Server // guarded by mu: all that were started
}

// Option changes what [Start] starts.
type Option func(*options)

type options struct {
	servers  int
	async    bool
	settings []string
	disk     int
}

// Single starts a primary without a standby. It acknowledges a commit when it is on its own disk.
func Single() Option { return func(o *options) { o.servers = 1 } }

// Spare starts a standby of the standby, so that a promoted standby has a synchronous standby at once.
func Spare() Option { return func(o *options) { o.servers = 3 } }

// Asynchronous has no server wait for its standby, so that a promotion may lose commits.
func Asynchronous() Option { return func(o *options) { o.async = true } }

// Setting adds a line to postgresql.conf of each server.
func Setting(name, value string) Option {
	return func(o *options) { o.settings = append(o.settings, fmt.Sprintf("%s = '%s'", name, value)) }
}

// Disk has the servers keep their data on a filesystem of that size in memory, in bytes. It needs root.
func Disk(size int) Option { return func(o *options) { o.disk = size } }

// Start starts a cluster that stops when the test ends. The test is skipped if PostgreSQL is not installed, and fails instead if
// CI is set in the environment. It is also skipped if a [Disk] cannot be mounted.
func Start(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	c, err := Open(opts...)
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			c.logTo(t)
		}
		c.Close()
	})
	return c
}

// check skips or fails the test if a cluster did not start.
func check(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, ErrNoDisk), errors.Is(err, ErrMissing) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// Shared is a cluster for all tests of a package. Its zero value is ready. TestMain must call Close when the tests have run.
type Shared struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Cluster returns the cluster, which the first call starts as [Start] does.
func (s *Shared) Cluster(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	s.once.Do(func() { s.cluster, s.err = Open(opts...) })
	check(t, s.err)
	return s.cluster
}

// Close stops the cluster if it was started.
func (s *Shared) Close() {
	if s.cluster != nil {
		s.cluster.Close()
	}
}

// Open is [Start] without a test. The caller must call Close.
func Open(opts ...Option) (*Cluster, error) {
	o := options{servers: 2}
	for _, opt := range opts {
		opt(&o)
	}
	p, err := findPrograms()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest-*")
	if err != nil {
		return nil, err
	}
	c := &Cluster{programs: p, dir: dir, async: o.async}
	if c.watchdog, err = watch(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.start(o); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// start starts the servers in the directory of the cluster.
func (c *Cluster) start(o options) error {
	if o.disk > 0 {
		if err := mount(c.dir, o.disk); err != nil {
			return err
		}
	}
	if err := c.programs.own(c.dir); err != nil {
		return err
	}
	ports, release, err := freeport.Reserve(o.servers)
	if err != nil {
		return err
	}
	c.release = release
	for i, port := range ports {
		s := &Server{cluster: c, name: fmt.Sprint("s", i), dir: filepath.Join(c.dir, fmt.Sprint("s", i)), port: port}
		if i == 0 {
			err = c.initialize(s.dir)
		} else { // a copy of a server that has not run yet is a complete backup of it
			err = c.run("cp", "-a", c.servers[0].dir, s.dir)
		}
		if err != nil {
			return err
		}
		c.servers = append(c.servers, s)
	}
	c.chain = slices.Clone(c.servers)
	for i, s := range c.chain {
		if err := s.configure(o.settings, c.chain[max(0, i-1)]); err != nil {
			return err
		}
	}
	for _, s := range c.chain {
		if err := s.start(); err != nil {
			return err
		}
	}
	for _, s := range c.chain[:len(c.chain)-1] {
		if err := s.attached(); err != nil {
			return err
		}
	}
	return nil
}

// Close stops the servers and removes their data.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		s.close()
	}
	c.watchdog.close()
	if c.release != nil {
		c.release()
	}
}

// logTo writes the latest lines of the servers' logs to the test's.
func (c *Cluster) logTo(t testing.TB) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		t.Logf("PostgreSQL %s printed:\n%s", s.name, s.tail())
	}
}

// Primary returns the server that accepts writes: the first one, or the one that was promoted last.
func (c *Cluster) Primary() *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chain[0]
}

// Standby returns the standby of the primary, or nil.
func (c *Cluster) Standby() *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chain) < 2 {
		return nil
	}
	return c.chain[1]
}

// Servers returns all servers in the order in which they were started. It belongs to the caller.
func (c *Cluster) Servers() []*Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.servers)
}

// URL returns the URL of the database postgres at all servers. A client connects to the one that accepts writes.
func (c *Cluster) URL() string { return c.url("postgres") }

// Database creates an empty database and returns its URL, as URL does.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprint("test_", c.databases.Add(1))
	c.Primary().SQL(t, "postgres", "CREATE DATABASE "+name)
	return c.url(name)
}

func (c *Cluster) url(database string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var hosts []string
	for _, s := range c.servers {
		hosts = append(hosts, s.Addr())
	}
	u := url.URL{Scheme: "postgres", User: url.User(User), Host: strings.Join(hosts, ","), Path: "/" + database}
	return u.String() + "?sslmode=disable&target_session_attrs=read-write"
}

// run runs a program as the user of the servers.
func (c *Cluster) run(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.SysProcAttr = c.dir, c.programs.attributes()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return nil
}

// accepts reports whether the server at a port accepts connections.
func (c *Cluster) accepts(port string) bool {
	return c.run(c.programs.path("pg_isready"), "-q", "-h", "127.0.0.1", "-p", port, "-U", User, "-d", "postgres") == nil
}

// poll waits until ok returns true.
func poll(what string, ok func() bool) error {
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			return fmt.Errorf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
	return nil
}
