package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
)

// drainClients is how many browsers refresh when SIGTERM comes.
const drainClients = 64

// After a SIGTERM under load, every request that the broker logged was answered to its caller, and every
// answered refresh is valid after the next start.
func TestSIGTERMLosesNothingAccepted(t *testing.T) {
	longtest.SkipShort(t, "ends a broker under load")
	t.Parallel()
	ports := freeport.Take(t, 2)
	dir := t.TempDir()
	issuer := "http://127.0.0.1:" + ports[0]
	config := filepath.Join(dir, "tokenbroker.yaml")
	var errs bytes.Buffer
	if code := Main(t.Context(), []string{"config", "init", config, "--public-url", issuer, "--data-dir", filepath.Join(dir, "data")}, io.Discard, &errs); code != terminal.ExitOK {
		t.Fatal(errs.String())
	}
	args := []string{"serve", "--config", config, "--listen", "127.0.0.1:" + ports[0], "--log-format", "json",
		"--set", "admin.listen=", "--set", "trusted_proxies=127.0.0.1", "--set", "nats.listen=127.0.0.1:" + ports[1]}
	broker := startBroker(t, "tokenbroker is ready", args...)
	if code := run(t.Context(), []string{"users", "add", "ada", "--config", config}, strings.NewReader("correct horse\n"), io.Discard, &errs); code != terminal.ExitOK {
		t.Fatal(errs.String())
	}

	var (
		wg       sync.WaitGroup
		answered sync.Map // request id → true, once the whole answer was read
		refused  atomic.Int64
		visits   [drainClients]visit
	)
	for i := range visits {
		v, ok := trySignInAs(issuer, "ada", "correct horse")
		if !ok {
			t.Fatal("no sign-in")
		}
		visits[i] = v
	}
	underWay := make(chan struct{})
	var begun atomic.Int64
	for i := range visits {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer client.CloseIdleConnections()
			for n := 0; ; n++ {
				id := fmt.Sprintf("drain-%d-%d", i, n)
				status, cookie := refreshAs(client, issuer, visits[i], id)
				if status == 0 { // the listener is closed: nothing was accepted
					return
				}
				answered.Store(id, status)
				if status != http.StatusOK {
					refused.Add(1)
					t.Errorf("%s: %d", id, status)
					return
				}
				visits[i].cookie = cookie
				if begun.Add(1) == 4*drainClients {
					close(underWay)
				}
			}
		})
	}
	<-underWay
	broker.terminate(t)
	wg.Wait()

	served := 0
	for lines := bufio.NewScanner(strings.NewReader(broker.out.String())); lines.Scan(); {
		var line struct {
			Msg    string `json:"msg"`
			Status int    `json:"status"`
			ID     string `json:"request_id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("no JSON line: %s", lines.Text())
		}
		if line.Msg != "request" || !strings.HasPrefix(line.ID, "drain-") {
			continue
		}
		served++
		if status, ok := answered.Load(line.ID); !ok || status != line.Status {
			t.Errorf("%s was served with %d and its caller got %v", line.ID, line.Status, status)
		}
	}
	t.Logf("%d refreshes served, all of them answered", served)
	if served < 4*drainClients {
		t.Errorf("only %d requests in the log", served)
	}

	startBroker(t, "tokenbroker is ready", args...)
	for i, v := range visits {
		if status := tryRefresh(t, issuer, v); status != http.StatusOK {
			t.Errorf("session %d does not refresh after the restart: %d", i, status)
		}
	}
}

// refreshAs returns the status and the new cookie; 0 when there was no answer.
func refreshAs(client *http.Client, issuer string, v visit, id string) (int, string) {
	req, err := http.NewRequest(http.MethodPost, issuer+"/auth/refresh/", strings.NewReader(jsonBody("CSRF_token", v.csrf)))
	if err != nil {
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cookie", v.cookie)
	req.Header.Set("X-Request-Id", id)
	resp, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, ""
	}
	for _, c := range resp.Cookies() {
		return resp.StatusCode, c.Name + "=" + c.Value
	}
	return resp.StatusCode, ""
}
