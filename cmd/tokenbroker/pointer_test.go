package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Operators' commands find a running dev without a flag: over its socket, or, where the
// data directory's path is too long for one, over TCP with the token.
func TestCommandsFindARunningDev(t *testing.T) {
	for name, dir := range map[string]string{"short": "", "long": strings.Repeat("long", 30)} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			dataDir := filepath.Join(t.TempDir(), "d", dir)
			dev := startDev(t, "--data-dir", dataDir)
			if said := strings.Contains(dev.logs.String(), "over TCP alone"); said != (dir != "") {
				t.Errorf("over TCP alone: %v", said)
			}
			var out, errs bytes.Buffer
			if code := Main(t.Context(), []string{"status"}, &out, &errs); code != terminal.ExitOK || !strings.Contains(out.String(), dev.issuer) {
				t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
			}
			dev.finish(t)
			if code := Main(t.Context(), []string{"status"}, &out, &errs); code != terminal.ExitFailed || !strings.Contains(errs.String(), "start one") {
				t.Errorf("after the end: exit code %d: %s", code, errs.String())
			}
		})
	}
}
