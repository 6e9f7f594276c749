package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMisuseExitsWith2AndReportsTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"an unknown flag":      {[]string{"-fast"}, "-fast"},
		"an argument":          {[]string{"mint"}, `"mint"`},
		"no tolerance":         {[]string{"-tolerance", "0"}, "-tolerance"},
		"no attempt":           {[]string{"-attempts", "0"}, "-attempts"},
		"not a pattern":        {[]string{"-bench", "("}, "-bench"},
		"a pattern of nothing": {[]string{"-bench", "nothing"}, "seen-before, first-sight"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, complaint strings.Builder
			if code := run(t.Context(), c.args, &out, &complaint); code != exitMisuse || !strings.Contains(complaint.String(), c.says) {
				t.Errorf("exit code %d, saying %q", code, complaint.String())
			}
		})
	}
}

func TestInvalidRecordIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ content, says string }{
		"no direction":      {`{"suites":{"mint":{"benches":{"Mint":{"x-raw":{"value":1}}}}}}`, "better"},
		"an unknown member": {`{"suits":{}}`, "suits"},
		"not JSON":          {`suites`, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "recorded.json")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readRecord(path); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := readRecord(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "-record") {
		t.Errorf("without a record: %v", err)
	}
}

// TestEachSuiteIsRecorded compares the record with the suites, which are edited separately.
func TestEachSuiteIsRecorded(t *testing.T) {
	recorded, err := readRecord("recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range suites {
		if len(recorded.Suites[s.name].Benches) == 0 {
			t.Errorf("suite %s is not recorded: go run ./bench/check -record -bench '^%s$'", s.name, s.name)
		}
	}
	if gone := dropped(suites, recorded); len(gone) > 0 {
		t.Errorf("recorded and no longer there: %+v", gone)
	}
}
