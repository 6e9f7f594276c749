package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// openTerminal returns a pseudo-terminal: tty reads what is written to keyboard.
func openTerminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return keyboard, tty
}

func TestPasswordIsNotReadFromATerminal(t *testing.T) {
	fake := serveFake(t, nil)
	_, tty := openTerminal(t)
	for _, args := range [][]string{{"users", "add", "ada"}, {"users", "passwd", "ada"}} {
		got := command(t, tty, args...)
		if got.code != terminal.ExitUsage || !strings.Contains(got.stderr, "pipe it") {
			t.Errorf("%v: got %+v", args, got)
		}
	}
	if len(fake.asked) > 0 {
		t.Errorf("the server was asked: %v", fake.asked)
	}
}

func TestRemovingAUserAsksOnATerminal(t *testing.T) {
	for typed, code := range map[string]int{"y\n": terminal.ExitOK, "YES\n": terminal.ExitOK, "n\n": terminal.ExitFailed, "\n": terminal.ExitFailed, "yellow\n": terminal.ExitFailed} {
		t.Run(strings.TrimSpace(typed), func(t *testing.T) {
			fake := serveFake(t, map[string]answer{"DELETE /admin/v1/users/ada": {200, doneJSON}})
			keyboard, tty := openTerminal(t)
			if _, err := io.WriteString(keyboard, typed); err != nil {
				t.Fatal(err)
			}
			got := command(t, tty, "users", "remove", "ada")
			if got.code != code || !strings.Contains(got.stderr, "Remove the user ada permanently? [y/N]") || (len(fake.asked) == 1) != (code == terminal.ExitOK) {
				t.Errorf("typed %q: got %+v after %v", typed, got, fake.asked)
			}
		})
	}
}
