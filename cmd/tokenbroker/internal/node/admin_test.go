package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/node"
)

// What others own, can read or have put there by a link is neither used as the data
// directory nor believed as the operators' token.
func TestStartRefusesWhatOthersCouldHaveTouched(t *testing.T) {
	const known = "a-token-that-somebody-else-has-put-there"
	for want, spoil := range map[string]func(dir string) error{
		"the data directory": func(dir string) error { return os.Chmod(dir, 0o755) },
		"open to others": func(dir string) error {
			path := filepath.Join(dir, node.AdminTokenFile)
			if err := os.WriteFile(path, []byte(known), 0o600); err != nil {
				return err
			}
			return os.Chmod(path, 0o644)
		},
		"is a link": func(dir string) error {
			elsewhere := dir + "-token"
			if err := os.WriteFile(elsewhere, []byte(known), 0o600); err != nil {
				return err
			}
			return os.Symlink(elsewhere, filepath.Join(dir, node.AdminTokenFile))
		},
	} {
		t.Run(want, func(t *testing.T) {
			l := &lab{t: t, dir: filepath.Join(t.TempDir(), "data"), listen: "127.0.0.1:0"}
			if err := os.Mkdir(l.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := spoil(l.dir); err != nil {
				t.Fatal(err)
			}
			cfg := l.config()
			cfg.NATS = node.NATS{Listen: "127.0.0.1:0"}
			n, err := node.Start(t.Context(), cfg)
			if err == nil {
				_ = n.Close()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		})
	}
}
