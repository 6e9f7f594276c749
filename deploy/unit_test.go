package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unit returns the settings of tokenbroker.service by section and key; a key may repeat.
func unit(t *testing.T) map[string]map[string][]string {
	t.Helper()
	sections := make(map[string]map[string][]string)
	var section map[string][]string
	for _, line := range strings.Split(read(t, "deploy/tokenbroker.service"), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			section = make(map[string][]string)
			sections[strings.Trim(line, "[]")] = section
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == nil {
			t.Fatalf("not a setting: %q", line)
		}
		section[key] = append(section[key], value)
	}
	return sections
}

func TestUnitSettings(t *testing.T) {
	service := unit(t)["Service"]
	for key, want := range map[string]string{
		"Type": "exec", "User": "tokenbroker",
		"ExecStart":      "/usr/local/bin/tokenbroker serve --config /etc/tokenbroker/tokenbroker.yaml",
		"ExecReload":     "/bin/kill -HUP $MAINPID",
		"Restart":        "on-failure",
		"StateDirectory": "tokenbroker", "StateDirectoryMode": "0700", "UMask": "0077",
		"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
		"PrivateDevices": "yes", "MemoryDenyWriteExecute": "yes", "LockPersonality": "yes",
		"RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "CapabilityBoundingSet": "", "RestrictNamespaces": "yes",
	} {
		if got := service[key]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	// Status 2 is that of a wrong command line, but also of a panic: a broker that crashed must be restarted.
	for key := range service {
		if strings.HasPrefix(key, "RestartPrevent") || key == "SuccessExitStatus" {
			t.Errorf("%s prevents the restart of a broker that crashed", key)
		}
	}
	if n, err := strconv.Atoi(service["TimeoutStopSec"][0]); err != nil || n <= drainSeconds {
		t.Errorf("TimeoutStopSec %q is not longer than the time in which the broker drains", service["TimeoutStopSec"])
	}
	if n, err := strconv.Atoi(service["LimitNOFILE"][0]); err != nil || n < 16384 {
		t.Errorf("LimitNOFILE %q", service["LimitNOFILE"])
	}
	if !slices.Contains(service["SystemCallFilter"], "@system-service") {
		t.Errorf("SystemCallFilter %q", service["SystemCallFilter"])
	}
	if got := unit(t)["Install"]["WantedBy"]; !slices.Equal(got, []string{"multi-user.target"}) {
		t.Errorf("WantedBy %q", got)
	}
}

// A secret reaches the broker as a credential; the environment only names its file.
func TestUnitSecretsAreCredentials(t *testing.T) {
	service := unit(t)["Service"]
	loaded := make(map[string]bool)
	for _, c := range service["LoadCredential"] {
		name, _, _ := strings.Cut(c, ":")
		loaded[name] = true
	}
	for _, e := range service["Environment"] {
		key, value, _ := strings.Cut(e, "=")
		if name, ok := strings.CutPrefix(value, "%d/"); ok {
			if !loaded[name] || !strings.HasSuffix(key, "_FILE") {
				t.Errorf("%s names a credential that is not loaded", e)
			}
			delete(loaded, name)
		} else if key != "TOKENBROKER_DATA_DIR" {
			t.Errorf("%s is set in the unit", key)
		}
	}
	if len(loaded) > 0 {
		t.Errorf("loaded and not used: %v", loaded)
	}
}

// The directory of the socket that the unit suggests is accessible only by the broker: the broker
// refuses one that is open to others.
func TestUnitSuggestsADirectoryForTheSocket(t *testing.T) {
	text := read(t, "deploy/tokenbroker.service")
	for _, line := range []string{"#RuntimeDirectory=tokenbroker\n", "#RuntimeDirectoryMode=0700\n", "#Environment=TOKENBROKER_ADMIN_SOCKET=/run/tokenbroker/"} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("no %q", line)
		}
	}
}

func TestUnitIsAcceptedBySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "tokenbroker")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil { // systemd-analyze verify requires it to be executable
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tokenbroker.service")
	text := strings.ReplaceAll(read(t, "deploy/tokenbroker.service"), "/usr/local/bin/tokenbroker", binary)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "tokenbroker.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
