package deploy_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// needPostgres returns the directory of PostgreSQL's programs. Without it the test is skipped, or fails where CI is set.
func needPostgres(t *testing.T) (bin string) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("PostgreSQL is not installed")
		}
		t.Skip("PostgreSQL is not installed")
	}
	return filepath.Dir(found[len(found)-1])
}

// startPostgres starts postgres.sh with an argument, as the service's entrypoint does, in a directory with copies of the
// service's secrets that its user can read. A standby copies the service primary.
func (s *clusterSet) startPostgres(service, primary, argument string) {
	s.t.Helper()
	config := s.project.Services[service]
	dir, err := os.MkdirTemp("", "tokenbroker-postgres-*") // not below the directory of the test, which is root's
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			s.t.Error(err)
		}
	})
	for _, name := range []string{"secrets", "run", "data"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	files := map[string]string{"postgres.sh": filepath.Join(s.root, "deploy/cluster/postgres.sh")}
	for _, secret := range config.Secrets {
		files["secrets/"+filepath.Base(cmpOr(secret.Target, secret.Source))] = s.project.Secrets[secret.Source].File
	}
	for to, from := range files {
		raw, err := os.ReadFile(from)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), raw, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	attributes, uid, gid, err := postgresUser()
	if err != nil {
		s.t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.addresses[primary+":5432"])
	_, own, _ := net.SplitHostPort(s.addresses[service+":5432"])
	cmd := exec.Command("bash", filepath.Join(dir, "postgres.sh"), argument)
	cmd.Dir, cmd.SysProcAttr = dir, attributes
	cmd.Env = []string{"PATH=" + needPostgres(s.t) + ":" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "PGDATA=" + dir + "/data", "SECRETS=" + dir + "/secrets",
		"RUN=" + dir + "/run", "LISTEN=127.0.0.1", "LISTEN_PORT=" + own, "PRIMARY=127.0.0.1", "PORT=" + port}
	s.postgres[service] = dir
	p := startCommand(s.t, service, cmd)
	s.processes[service] = p
	s.t.Cleanup(func() { // before the kill, which would leave its children for a moment
		_ = p.cmd.Process.Signal(syscall.SIGINT)
		eventually(s.t, service+" stops", p.ended)
	})
}

// failOver ends the primary and follows the instructions in postgres.sh.
func (s *clusterSet) failOver() {
	s.t.Helper()
	s.processes["postgres-1"].kill()
	_, port, _ := net.SplitHostPort(s.addresses["postgres-2:5432"])
	promote := exec.CommandContext(s.t.Context(), filepath.Join(needPostgres(s.t), "psql"), "--host", s.postgres["postgres-2"]+"/run", "--port", port, "--username", "postgres",
		"--no-align", "--tuples-only", "--command", "SELECT pg_promote()")
	attributes, _, _, err := postgresUser()
	if err != nil {
		s.t.Fatal(err)
	}
	promote.Dir, promote.SysProcAttr = s.postgres["postgres-2"], attributes
	if out, err := promote.CombinedOutput(); err != nil || string(out) != "t\n" {
		s.t.Fatalf("pg_promote: %v: %s", err, out)
	}
	s.startPostgres("postgres-1", "postgres-2", "standby")
	eventually(s.t, "the new standby is ready", func() bool { return s.postgresReady("postgres-1") })
}

// postgresReady reports whether a server accepts connections.
func (s *clusterSet) postgresReady(service string) bool {
	host, port, _ := net.SplitHostPort(s.addresses[service+":5432"])
	return exec.CommandContext(s.t.Context(), filepath.Join(needPostgres(s.t), "pg_isready"), "--quiet", "--host", host, "--port", port).Run() == nil
}
