package benchrun

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tokenbroker/bench/report"
)

// Machine describes this machine, and measures how long the disk of dir takes to sync.
func Machine(ctx context.Context, version, dir string) report.Machine {
	m := report.Machine{
		CPU: cpuModel(), Cores: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0), Go: runtime.Version(),
		Tokenbroker: version, Kernel: kernel(), FsyncDir: dir,
	}
	if median, err := syncTime(ctx, dir); err == nil { // 0 means unknown
		m.FsyncUS = report.US(median)
	}
	return m
}

// cpuModel returns Linux's name of the first core, and the architecture on other systems.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), ":")
		if name = strings.TrimSpace(name); ok && (name == "model name" || name == "Model") {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return runtime.GOOS
	}
	return unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
}

const (
	syncBytes = 128 // a small record
	syncTimes = 101 // odd, so that the median is a measured time
	syncLimit = 2 * time.Second
)

// syncTime returns the median time of appending a record to a file and syncing it.
func syncTime(ctx context.Context, dir string) (time.Duration, error) {
	log, err := newSyncedLog(dir)
	if err != nil {
		return 0, err
	}
	defer log.close()
	record := make([]byte, syncBytes)
	var times []time.Duration
	for began := time.Now(); len(times) < syncTimes && time.Since(began) < syncLimit && ctx.Err() == nil; {
		start := time.Now()
		if err := log.append(record); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	if len(times) == 0 {
		return 0, ctx.Err()
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// syncedLog is a file in which every record is on disk when the append returns. It is not safe for
// concurrent use.
type syncedLog struct{ file *os.File }

func newSyncedLog(dir string) (*syncedLog, error) {
	f, err := os.CreateTemp(dir, "tokenbroker-bench-*.log")
	if err != nil {
		return nil, fmt.Errorf("making a file to measure the disk with: %w", err)
	}
	return &syncedLog{f}, nil
}

func (l *syncedLog) append(record []byte) error {
	if _, err := l.file.Write(record); err != nil {
		return err
	}
	return syncData(l.file)
}

func (l *syncedLog) close() {
	_ = l.file.Close()
	_ = os.Remove(l.file.Name())
}
