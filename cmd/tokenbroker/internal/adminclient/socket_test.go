package adminclient

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Passwords go over the socket: one of another user is not asked.
func TestASocketOfAnotherUserIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own := os.Geteuid()
	if err := trustSocket(path, own); err != nil {
		t.Errorf("the own one: %v", err)
	}
	if own != 0 {
		if err := trustSocket(path, own+1); !errors.Is(err, errForeignSocket) {
			t.Errorf("another user's: %v", err)
		}
		return
	}
	if err := trustSocket(path, 1000); err != nil {
		t.Errorf("root's: %v", err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Skip("giving it away: ", err)
	}
	if err := trustSocket(path, 1000); !errors.Is(err, errForeignSocket) {
		t.Errorf("another user's: %v", err)
	}
	if err := trustSocket(path, 0); err != nil {
		t.Errorf("asked by root: %v", err)
	}
}
