package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/httpserver"
)

// Thresholds of the disk checks.
const (
	diskWarn   = 1 << 30 // bytes free
	diskFail   = 256 << 20
	fsyncWarn  = 10 * time.Millisecond // every sign-in and refresh waits for an fsync
	fsyncTries = 20
)

// disk checks the mode, the free space and the fsync time of the data directory.
func disk(_ context.Context, s Subject) []Finding {
	info, err := os.Stat(s.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return []Finding{{"data directory", Skip, s.DataDir + " is not on this machine, or does not exist yet", "run doctor where the broker runs"}}
	}
	if err != nil {
		return []Finding{{"data directory", Fail, err.Error(), "run doctor as the broker's user"}}
	}
	mode := Finding{Check: "data directory", Level: OK, Detail: fmt.Sprintf("%s, mode %#o", s.DataDir, info.Mode().Perm())}
	if info.Mode().Perm()&0o077 != 0 {
		mode.Level, mode.Hint = Fail, "other users can read it: chmod 700 "+s.DataDir
	}
	if s.shared() || s.Status != nil && s.Status.Cluster != nil { // the store is not on this disk
		return []Finding{mode}
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
	found.Hint = "free disk space: the broker refuses writes (503) before the disk is full"
	return found
}

// fsync measures the time of an fsync, which each commit waits for, on the disk of the data directory.
func fsync(dir string) Finding {
	const name = "fsync"
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return Finding{name, Skip, "this user cannot write to the data directory", "run doctor as the broker's user"}
	}
	defer func() { _ = os.Remove(f.Name()); _ = f.Close() }()
	block := make([]byte, 4096)
	times := make([]time.Duration, 0, fsyncTries)
	for range fsyncTries {
		start := time.Now()
		_, err := f.Write(block)
		if err := errors.Join(err, f.Sync()); err != nil {
			return Finding{name, Fail, err.Error(), "check the disk: it does not accept writes"}
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	median, worst := times[len(times)/2], times[len(times)-1]
	found := Finding{Check: name, Level: OK, Detail: fmt.Sprintf("median %s, slowest %s of %d", median.Round(time.Microsecond), worst.Round(time.Microsecond), fsyncTries)}
	if median > fsyncWarn {
		found.Level, found.Hint = Warn, "every sign-in, refresh and log-off waits for an fsync: use a local SSD, not a network file system"
	}
	return found
}

// secretFiles are the names in the data directory that may hold secrets.
var secretFiles = []string{"kek", "nats-services", "admin-token", "tokenbroker.lock", "store", "admin"}

// modes checks the modes of files and directories that hold secrets, and repeats the warnings of loading
// the configuration.
func modes(_ context.Context, s Subject) []Finding {
	const name = "file modes"
	var found []Finding
	for _, w := range s.Warnings {
		found = append(found, Finding{"configuration", Warn, w.Key + " " + w.Message, w.Hint})
	}
	looked := 0
	for _, file := range secretFiles {
		file = filepath.Join(s.DataDir, file)
		info, err := os.Stat(file)
		if s.DataDir == "" || err != nil {
			continue // it does not exist, or is not on this machine, which the check of the data directory reports
		}
		looked++
		if perm := info.Mode().Perm(); perm&0o077 != 0 {
			found = append(found, Finding{
				name, Fail, fmt.Sprintf("%s: other users can read or change it (mode %04o)", file, perm),
				"chmod go-rwx " + file + ", and treat the secrets in it as compromised",
			})
		}
	}
	if s.ConfigFile != "" { // loading it fails if other users can change it, or read secrets in it
		looked++
	}
	if looked == 0 && found == nil {
		return []Finding{{name, Skip, "neither a configuration nor a data directory is on this machine", "run doctor where the broker runs, with --config"}}
	}
	if found == nil {
		return []Finding{{name, OK, fmt.Sprintf("%d files and directories are private", looked), ""}}
	}
	return found
}

// files compares the running server's limit of open files with what its connections need.
func files(_ context.Context, s Subject) []Finding {
	const name = "open files"
	if s.Status == nil || s.Status.Connections.OpenFiles == 0 { // an older server does not report it
		return []Finding{{name, Skip, "the broker does not run here, or does not report its limit", "start the broker"}}
	}
	c := s.Status.Connections
	found := Finding{Check: name, Level: OK, Detail: fmt.Sprintf("limit %d: %d connections at the public listener, %d from one address", c.OpenFiles, c.Max, c.PerAddress)}
	if c.OpenFilesWanted > 0 {
		found.Level, found.Hint = Warn, httpserver.OpenFiles{Wanted: c.OpenFilesWanted}.Hint()
	}
	return []Finding{found}
}

// forwarded checks whether the broker can read the X-Forwarded-For entries of the trusted proxies.
func forwarded(_ context.Context, s Subject) []Finding {
	const name = "client addresses"
	if s.Status == nil {
		return []Finding{{name, Skip, "the broker does not run here", "start the broker"}}
	}
	if n := s.Status.Connections.UnreadableForwarded; n > 0 {
		return []Finding{{
			name, Warn, fmt.Sprintf("%d requests of trusted proxies since the start have an X-Forwarded-For entry that is not an address", n),
			"their users share the proxy's address and its limits: the broker's log names the proxy and the entry; configure the proxy to write the client's address, with or without a port",
		}}
	}
	return []Finding{{Check: name, Level: OK, Detail: "every X-Forwarded-For of a trusted proxy could be read"}}
}
