package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Server is one PostgreSQL server of a [Cluster]. Its methods are not safe for concurrent use, except Addr and SQL.
type Server struct {
	cluster   *Cluster
	name, dir string
	port      string

	cmd     *exec.Cmd // of the postmaster
	ended   chan struct{}
	stopped []int // the processes that Stop stopped
}

// Addr returns the host and port of the server.
func (s *Server) Addr() string { return "127.0.0.1:" + s.port }

// Dir returns the directory of the server's data.
func (s *Server) Dir() string { return s.dir }

// settings are those that differ from PostgreSQL's defaults. A server is small, reconnects quickly, and keeps nothing outside of
// its directory.
const settings = `
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = '16MB'
dynamic_shared_memory_type = 'mmap'
min_wal_size = '8MB'
max_wal_size = '64MB'
wal_keep_size = '64MB'
wal_retrieve_retry_interval = '100ms'
primary_conninfo = ''
`

// configure writes the configuration of a server that follows another one, or is the first one of its cluster.
func (s *Server) configure(more []string, follows *Server) error {
	text := settings + "port = " + s.port + "\n"
	if len(s.cluster.chain) > 1 && !s.cluster.async {
		text += "synchronous_standby_names = '*'\n"
	}
	if follows != s {
		text += s.conninfo(follows)
		if err := s.write("standby.signal", "", 0); err != nil {
			return err
		}
	}
	return s.write("postgresql.conf", text+strings.Join(more, "\n")+"\n", os.O_APPEND)
}

func (s *Server) write(name, text string, flag int) error {
	file := filepath.Join(s.dir, name)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|flag, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return s.cluster.programs.own(file)
}

// start starts the server and waits until it accepts connections.
func (s *Server) start() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the server has its own descriptor
	s.cmd = exec.Command(s.cluster.programs.path("postgres"), "-D", s.dir)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr, s.cmd.SysProcAttr = s.dir, log, log, s.cluster.programs.attributes()
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() { defer close(ended); _ = cmd.Wait() }()
	return s.ready()
}

func (s *Server) logFile() string { return s.dir + ".log" }

// ready waits until the server accepts connections.
func (s *Server) ready() error {
	var gone bool
	err := poll("PostgreSQL "+s.name+" is ready", func() bool {
		select {
		case <-s.ended:
			gone = true
			return true
		default:
			return s.cluster.accepts(s.port)
		}
	})
	if gone {
		err = fmt.Errorf("PostgreSQL %s ended", s.name)
	}
	if err != nil {
		return fmt.Errorf("%w:\n%s", err, s.tail())
	}
	return nil
}

// tail returns the latest lines of the log.
func (s *Server) tail() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// SQL runs statements with psql and returns the rows, one a line, with | between columns. It fails the test on an error. Each
// statement waits as long as the server does.
func (s *Server) SQL(t testing.TB, database, statements string) string {
	t.Helper()
	out, err := s.psql(database, statements)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *Server) psql(database, statements string) (string, error) {
	cmd := exec.Command(s.cluster.programs.path("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", s.port, "-U", User, "-d", database, "-c", statements)
	cmd.Dir, cmd.SysProcAttr = s.cluster.dir, s.cluster.programs.attributes()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("psql at PostgreSQL %s: %w: %s", s.name, err, errs.String())
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// Kill is kill -9 of all processes of the server, stopped or not.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.kill(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) kill() error {
	all := s.all()
	signal(syscall.SIGKILL, all)
	<-s.ended
	s.mark(nil)
	return poll("PostgreSQL "+s.name+" has ended", func() bool { return !anyRuns(all) })
}

// Stop is SIGSTOP of all processes of the server. Its connections stay open.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	all := s.all()
	s.mark(all)
	signal(syscall.SIGSTOP, all)
}

// all stops the postmaster, so that it starts no further process, and returns all processes of the server.
func (s *Server) all() []int {
	postmaster := s.cmd.Process.Pid
	signal(syscall.SIGSTOP, []int{postmaster})
	_ = poll("the postmaster is stopped", func() bool { return isStopped(postmaster) || !s.Running() })
	return append(children(postmaster), postmaster)
}

// Continue is SIGCONT of what Stop stopped.
func (s *Server) Continue(t testing.TB) {
	t.Helper()
	signal(syscall.SIGCONT, s.stopped)
	s.mark(nil)
}

// mark records the stopped processes, which do not end by themselves if this process does.
func (s *Server) mark(pids []int) {
	s.stopped = pids
	s.cluster.watchdog.stopped(s.name, pids)
}

// Restart starts a server that was killed, or shuts it down properly before. A killed primary comes back as a primary.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if s.Running() {
		s.shutDown(syscall.SIGINT)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// Running reports whether the server has not ended.
func (s *Server) Running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// shutDown shuts the server down and waits for its end.
func (s *Server) shutDown(how syscall.Signal) {
	signal(how, []int{s.cmd.Process.Pid})
	if poll("the end", func() bool { return !s.Running() }) != nil {
		_ = s.kill()
	}
}

// close ends the server.
func (s *Server) close() {
	switch {
	case !s.Running():
	case len(s.stopped) > 0:
		_ = s.kill()
	default:
		s.shutDown(syscall.SIGQUIT) // at once, without a checkpoint
	}
}
