package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
)

// With 256 file descriptors and more idle connections than that, the store can still open files, and a new
// client gets an answer.
func TestIdleConnectionsDoNotEndTheProcess(t *testing.T) {
	needDev(t)
	t.Parallel()
	const connections, revocations = 300, 150_000 // the first memtable takes less
	longtest.SkipShort(t, "fills a memtable")
	dir, ports := t.TempDir(), freeport.Take(t, 1)
	data, listen := filepath.Join(dir, "data"), "127.0.0.1:"+ports[0]
	broker := startProcess(t, readyDev, []string{childEnv + "=1"}, "sh", "-c", `ulimit -n 256 && exec "$0" "$@"`, os.Args[0],
		"dev", "--data-dir", data, "--listen", listen, "--admin-listen", "127.0.0.1:0",
		"--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0")
	if log := broker.out.String(); !strings.Contains(log, "few file descriptors") {
		t.Errorf("no warning in the log:\n%s", log)
	}
	for i := range connections {
		if err := livez(t, listen); err != nil {
			t.Fatalf("client %d with %d idle ones: %v", i, i, err)
		}
	}

	var list strings.Builder
	for i := range revocations {
		fmt.Fprintf(&list, "01890000-0000-7000-8000-%012d\n", i)
	}
	done := command(t, strings.NewReader(list.String()), "revoke", "--file", "-", "--kind", "jti", "--data-dir", data)
	if done.code != terminal.ExitOK {
		t.Errorf("revoke: exit code %d\n%s", done.code, done.stderr)
	}
	eventually(t, "the store has another memtable", func() bool {
		files, err := filepath.Glob(filepath.Join(data, "store", "*.mem"))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-broker.done:
			t.Fatalf("the broker ended:\n%s", broker.out.String())
		default:
		}
		return len(files) > 0 && !strings.HasSuffix(files[len(files)-1], "00001.mem")
	})
	if err := livez(t, listen); err != nil {
		t.Error("a new client afterwards:", err)
	}
	broker.terminate(t)
}

// livez requests GET /livez on a connection that stays open until the test ends.
func livez(t *testing.T, addr string) error {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: "+addr+"\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
