package benchrun

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData is what the store does after a commit: the data and the length, not the times.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
