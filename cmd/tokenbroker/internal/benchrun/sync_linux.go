package benchrun

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData syncs the data and the length of a file, but not its times, as the store does after a commit.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
