package pgtest

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/internal/freeport"
)

// Bouncer starts a PgBouncer in transaction mode before the server that is the primary now, and returns the URL of the
// database of a URL of the cluster behind it. It stops when the test ends. The test is skipped if it is not installed, and fails
// instead if CI is set in the environment.
func (c *Cluster) Bouncer(t testing.TB, databaseURL string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip("pgbouncer is not installed: apt-get install pgbouncer")
		}
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = "sslmode=disable"
	for range 5 { // another process may take the port before it
		port := freeport.Take(t, 1)[0]
		u.Host = "127.0.0.1:" + port
		err := c.startBouncer(t, program, port)
		if err == nil {
			return u.String()
		}
		t.Log(err)
	}
	t.Fatal("PgBouncer could not be started")
	return ""
}

// startBouncer starts a PgBouncer at a port. Its error has what it printed.
func (c *Cluster) startBouncer(t testing.TB, program, port string) error {
	file := filepath.Join(c.dir, "pgbouncer-"+port+".ini")
	// With auth_type any, every client is the user of the database's line at the server.
	text := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%s user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
server_login_retry = 1
`, c.Primary().port, User, port)
	err := os.WriteFile(file, []byte(text), 0o600)
	if err == nil {
		err = c.programs.own(file)
	}
	if err != nil {
		return err
	}
	cmd := exec.Command(program, file)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &out, c.programs.attributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	var result error
	go func() { defer close(ended); result = cmd.Wait() }()
	stop := func() { _ = cmd.Process.Kill(); <-ended }
	err = poll("PgBouncer is ready", func() bool {
		select {
		case <-ended:
			return true
		default:
			return c.accepts(port)
		}
	})
	select {
	case <-ended:
		err = fmt.Errorf("PgBouncer has ended: %w", result)
	default:
	}
	if err != nil {
		stop()
		return fmt.Errorf("%w\n%s", err, out.String())
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("PgBouncer printed:\n%s", out.String())
		}
	})
	return nil
}
