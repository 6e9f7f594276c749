package config_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tokenbroker/config"
)

func chmod(t *testing.T, file string, mode fs.FileMode) string {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// A configuration with secrets in it that every user can read, and any that every user can
// change, is refused; its group may read it, and one without secrets is nobody's secret.
func TestModeOfTheConfiguration(t *testing.T) {
	secretFile := write(t, "secret", secretText+"\n")
	without := strings.Replace(good, "secret: "+secretText, "secret_file: "+secretFile, 1)
	const key = "clients.my-service.secret"
	for _, tt := range []struct {
		name, content string
		mode          fs.FileMode
		key, fragment string // of the one problem; "" for none
	}{
		{"secrets, for the owner", good, 0o600, "", ""},
		{"secrets, for the owner to read", good, 0o400, "", ""},
		{"secrets, for the group to read", good, 0o440, "", ""},
		{"secrets, for the group", good, 0o640, "", ""},
		{"secrets, for everybody to read", good, 0o644, key, "mode 0644"},
		{"secrets, for everybody else to read", good, 0o604, key, "mode 0604"},
		{"secrets, for everybody to run only", good, 0o711, "", ""},
		{"no secrets, for everybody to read", without, 0o644, "", ""},
		{"no secrets, for everybody to change", without, 0o666, "", "can be changed by every user"},
		{"secrets, for everybody to change", good, 0o602, "", "can be changed by every user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := config.Options{File: chmod(t, write(t, "c.yaml", tt.content), tt.mode)}
			if tt.fragment == "" {
				if loaded := mustLoad(t, opts); len(loaded.Warnings) > 0 {
					t.Errorf("warnings: %v", loaded.Warnings)
				}
				return
			}
			found := problems(t, opts)
			wantProblem(t, found, tt.key, tt.fragment)
			if text := found.Error(); strings.Contains(text, secretText) || !strings.Contains(text, "chmod") {
				t.Errorf("it shows the secret, or not what to do: %s", text)
			}
		})
	}
	t.Run("a pipe of the process's own", func(t *testing.T) { // as a shell makes for <(command)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		if _, err := w.WriteString(good); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		mustLoad(t, config.Options{File: fmt.Sprintf("/dev/fd/%d", r.Fd())})
	})
}

// No reader waits for the writer of a named pipe.
func TestFilesThatAreNotFiles(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip("making a pipe: ", err)
	}
	dir := t.TempDir()
	file := write(t, "c.yaml", good)
	elsewhere := map[string]string{"nats.url": "tls://nats.example.com:4222"}
	for _, name := range []string{fifo, dir, os.DevNull} {
		fragment := "not a regular file"
		if name == dir {
			fragment = "is a directory"
		}
		wantProblem(t, problems(t, config.Options{File: name}), "", fragment)
		for _, key := range []string{"admin.token_file", "keyring.kek_file", "clients.my-spa.secret_file"} {
			wantProblem(t, problems(t, config.Options{File: file, Flags: map[string]string{key: name}}), key, fragment)
		}
		for _, key := range []string{"nats.credentials_file", "nats.ca_file"} {
			flags := maps.Clone(elsewhere)
			flags[key] = name
			wantProblem(t, problems(t, config.Options{File: file, Flags: flags}), key, fragment)
		}
		wantProblem(t, problems(t, config.Options{File: file, Flags: map[string]string{"tls.cert_file": name, "tls.key_file": name}}), "tls.key_file", fragment)
	}
}

// The file of a secret that every user can read is used with a warning: a container's
// orchestrator mounts it so.
func TestModeOfSecretFiles(t *testing.T) {
	certPEM, keyPEM := newPair(t, nil)
	cert, key := write(t, "cert.pem", certPEM), write(t, "key.pem", keyPEM)
	secretFile := write(t, "secret", secretText+"\n")
	credentials := write(t, "nats.creds", "x")
	content := strings.Replace(good, "secret: "+secretText, "secret_file: "+secretFile, 1) +
		"admin: {tls_cert_file: " + cert + ", tls_key_file: " + key + "}\n" +
		"nats: {url: 'tls://nats.example.com:4222', credentials_file: " + credentials + "}\n"
	file := write(t, "c.yaml", content)
	for name, tt := range map[string]struct {
		mode  fs.FileMode
		warns bool
	}{"for the owner": {0o600, false}, "for the group": {0o440, false}, "for everybody to read": {0o644, true}, "for everybody to change": {0o622, true}} {
		t.Run(name, func(t *testing.T) {
			for _, f := range []string{secretFile, key, credentials} {
				chmod(t, f, tt.mode)
			}
			chmod(t, cert, 0o644) // a certificate is public
			loaded, err := config.Load(config.Options{File: file})
			if err != nil {
				t.Fatal(err)
			}
			if !tt.warns {
				if len(loaded.Warnings) > 0 {
					t.Errorf("warnings: %v", loaded.Warnings)
				}
				return
			}
			if len(loaded.Warnings) != 3 {
				t.Errorf("warnings: %v", loaded.Warnings)
			}
			for warned, named := range map[string]string{"clients.my-service.secret_file": secretFile, "admin.tls_key_file": key, "nats.credentials_file": credentials} {
				wantProblem(t, loaded.Warnings, warned, named)
			}
		})
	}
}
