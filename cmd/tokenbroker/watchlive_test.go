package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

// TestWatchShowsALogOffAndItsReceipt watches a log-off and a rotation at dev, whose sample service
// is the only service.
func TestWatchShowsALogOffAndItsReceipt(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	read, write := io.Pipe()
	code := make(chan int, 1)
	var stderr syncBuffer
	go func() {
		code <- Main(ctx, []string{"watch", "--data-dir", dev.dataDir, "--output", "json"}, write, &stderr)
		_ = write.Close()
	}()
	lines := make(chan string, 1000) // more than dev writes
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(read); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	next := func(name string, v any) {
		t.Helper()
		for deadline := time.After(patience); ; {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatalf("watch ended: %s", stderr.String())
				}
				if !strings.HasPrefix(line, `{"type":"`+name+`"`) {
					continue
				}
				if err := json.Unmarshal([]byte(line), v); err != nil {
					t.Fatalf("%v in %s", err, line)
				}
				return
			case <-deadline:
				t.Fatalf("no %s: %s", name, stderr.String())
			}
		}
	}
	var service admin.WatchService
	next(admin.WatchTypeService, &service)
	if service.State != admin.ServiceFresh || !strings.HasPrefix(service.Service, devserver.ServiceClient+"/") {
		t.Errorf("the first service: %+v", service)
	}

	b := newBrowser(t, dev.issuer)
	csrf := b.post("/auth/sign-in/", `{"username": "admin", "password": "admin"}`, http.StatusOK)["CSRF_token"].(string)
	sid := b.get("/auth/session/", http.StatusOK)["sid"]
	asked := time.Now().Truncate(time.Second)
	b.post("/auth/logoff/", jsonBody("CSRF_token", csrf), http.StatusOK)
	var batch admin.WatchRevocation
	next(admin.WatchTypeRevocation, &batch)
	if len(batch.Events) != 1 || batch.Events[0].Kind != revocation.KindSID || batch.Events[0].Value != sid || batch.Events[0].Reason != revocation.ReasonLogoff {
		t.Errorf("the batch: %+v", batch)
	}
	if batch.FlushedMS == nil || batch.At.Before(asked) || batch.At.After(time.Now()) || len(batch.Origin) < 20 {
		t.Errorf("the batch: %+v", batch)
	}
	var applied admin.WatchApplied
	next(admin.WatchTypeApplied, &applied)
	if applied.Applied != len(dev.samples) || applied.Of != len(dev.samples) || applied.Seq != batch.Seq || applied.Origin != batch.Origin || applied.Laggards != nil {
		t.Errorf("applied: %+v", applied)
	}
	t.Logf("sent after %d ms, applied after %d ms", *batch.FlushedMS, applied.SlowestMS)

	if got := command(t, nil, "keys", "rotate", "--yes", "--data-dir", dev.dataDir); got.code != terminal.ExitOK {
		t.Fatalf("rotating: %+v", got)
	}
	var key admin.WatchKey
	next(admin.WatchTypeKey, &key)
	if key.What == "" || key.Purpose != "access" || key.KID == "" || key.State == "" || key.At.IsZero() {
		t.Errorf("the key: %+v", key)
	}

	interrupt()
	if got := <-code; got != terminal.ExitOK || stderr.String() != "" {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
	dev.finish(t)
}
