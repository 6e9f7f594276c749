package node_test

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/longtest"
	"tokenbroker/validator"
)

// TestTwoBrokersOnCopiesOfOneStoreAreNoticed copies a data directory and runs a broker on each. Both
// brokers become not ready and log it. A service also logs it, and continues to work.
func TestTwoBrokersOnCopiesOfOneStoreAreNoticed(t *testing.T) {
	longtest.SkipShort(t, "waits for heartbeats")
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	l.issuer = l.node.Issuer()
	l.stopBroker()
	second := newLab(t)
	second.natsPort, second.issuer = l.natsPort, l.issuer
	if err := os.CopyFS(second.dir, os.DirFS(l.dir)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(second.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if d.IsDir() {
			mode = 0o700
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
	var logs [3]logBuffer
	start := func(l *lab, log *logBuffer) {
		cfg := l.config()
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		n, err := node.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		l.node = n
		t.Cleanup(l.stopBroker)
	}
	start(l, &logs[0])
	l.checkReady("ready")
	v := l.startService(10*time.Second, func(c *validator.Config) { c.Logger = slog.New(slog.NewTextHandler(&logs[2], nil)) })
	if n := v.Stats().Feed.Copies; n != 0 {
		t.Errorf("%d copies of a single broker", n)
	}
	start(second, &logs[1])
	for i, l := range []*lab{l, second} {
		eventually(t, "a broker is not ready", func() bool { return !l.ready("ready") && !l.ready("degraded") })
		if text := logs[i].String(); strings.Count(text, "another broker runs on a copy of this store") != 1 {
			t.Errorf("broker %d logs %s", i, text)
		}
	}
	eventually(t, "the service counts it", func() bool { return v.Stats().Feed.Copies == 1 })
	if text := logs[2].String(); strings.Count(text, "runs on a copy of store") != 1 {
		t.Errorf("the service logs %s", text)
	}
	if !v.Stats().Fresh {
		t.Error("the service is stale although its broker answers")
	}
}

// TestRestartedBrokerIsNotReportedAsACopy restarts a broker while a service listens.
func TestRestartedBrokerIsNotReportedAsACopy(t *testing.T) {
	longtest.SkipShort(t, "waits for heartbeats")
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	v := l.startService(10 * time.Second)
	for range 2 {
		caughtUp := v.Stats().Feed.CatchUps
		l.stopBroker()
		l.startBroker()
		eventually(t, "the service follows", func() bool { return v.Stats().Fresh && v.Stats().Feed.CatchUps > caughtUp })
		heard := v.Stats().Feed.Messages
		eventually(t, "five heartbeats", func() bool { return v.Stats().Feed.Messages > heard+5 })
		l.checkReady("ready")
	}
	if n := v.Stats().Feed.Copies; n != 0 {
		t.Errorf("%d copies", n)
	}
}
