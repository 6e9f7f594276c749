package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"
)

// What the disk should have and do.
const (
	diskWarn   = 1 << 30 // bytes free
	diskFail   = 256 << 20
	fsyncWarn  = 10 * time.Millisecond // every sign-in and refresh waits for one
	fsyncTries = 20
)

// disk looks at the data directory: whose it is, what is free, what an fsync costs.
func disk(_ context.Context, s Subject) []Finding {
	info, err := os.Stat(s.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return []Finding{{"data directory", Skip, s.DataDir + " is not on this machine, or not made yet", "run doctor where the broker runs"}}
	}
	if err != nil {
		return []Finding{{"data directory", Fail, err.Error(), "run doctor as the broker's user"}}
	}
	mode := Finding{Check: "data directory", Level: OK, Detail: fmt.Sprintf("%s, mode %#o", s.DataDir, info.Mode().Perm())}
	if info.Mode().Perm()&0o077 != 0 {
		mode.Level, mode.Hint = Fail, "others can look into it: chmod 700 "+s.DataDir
	}
	return []Finding{mode, space(s.DataDir), fsync(s.DataDir)}
}

func space(dir string) Finding {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return Finding{"disk space", Fail, err.Error(), "run doctor as the broker's user"}
	}
	free := stat.Bavail * uint64(stat.Bsize)
	found := Finding{Check: "disk space", Level: OK, Detail: fmt.Sprintf("%d MiB free", free>>20)}
	switch {
	case free < diskFail:
		found.Level = Fail
	case free < diskWarn:
		found.Level = Warn
	default:
		return found
	}
	found.Hint = "the broker refuses writes (503) before the disk is full: make room"
	return found
}

// fsync measures what a commit waits for, on the disk that it is on.
func fsync(dir string) Finding {
	const name = "fsync"
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return Finding{name, Skip, "not writable for this user", "run doctor as the broker's user"}
	}
	defer func() { _ = os.Remove(f.Name()); _ = f.Close() }()
	block := make([]byte, 4096)
	times := make([]time.Duration, 0, fsyncTries)
	for range fsyncTries {
		start := time.Now()
		_, err := f.Write(block)
		if err := errors.Join(err, f.Sync()); err != nil {
			return Finding{name, Fail, err.Error(), "the disk does not take writes"}
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	median, worst := times[len(times)/2], times[len(times)-1]
	found := Finding{Check: name, Level: OK, Detail: fmt.Sprintf("median %s, slowest %s of %d", median.Round(time.Microsecond), worst.Round(time.Microsecond), fsyncTries)}
	if median > fsyncWarn {
		found.Level, found.Hint = Warn, "every sign-in, refresh and log-off waits for one: use a local SSD, no network file system"
	}
	return found
}
