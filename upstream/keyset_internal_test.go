package upstream

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// TestUnusableKeysAreLoggedOnceAndReported checks that unusable keys are reported, and logged once
// for each change.
func TestUnusableKeysAreLoggedOnceAndReported(t *testing.T) {
	var log strings.Builder
	k := keySet{logger: slog.New(slog.NewTextHandler(&log, nil)), keys: make([]jose.JSONWebKey, 1)}
	for _, step := range []struct {
		unfit    []string
		report   string
		warnings int
		logged   string
	}{
		{[]string{"key a: odd"}, "key a: odd", 1, "key a: odd"},
		{[]string{"key a: odd"}, "key a: odd", 1, "key a: odd"},
		{[]string{"key b: odd", "key c: odd"}, "key b: odd; key c: odd", 2, "key b: odd; key c: odd"},
		{nil, "", 2, "key b: odd"},
		{[]string{"key a: odd"}, "key a: odd", 3, "key a: odd"},
	} {
		k.warn(t.Context(), step.unfit)
		if report := k.report(); report.Unfit != step.report || report.Usable != 1 {
			t.Errorf("unfit %q: report %+v", step.unfit, report)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != step.warnings || !strings.Contains(log.String(), step.logged) {
			t.Errorf("unfit %q: %d warnings, want %d:\n%s", step.unfit, n, step.warnings, log.String())
		}
	}
}
