package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// memory returns the heap in use and the process's resident memory without file mappings, in
// bytes, after a collection. Pages of Badger's mapped files are the system's to take back.
func memory(tb testing.TB) (heap, resident int64) {
	tb.Helper()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	if _, err := fmt.Sscan(rest, &resident); err != nil {
		tb.Fatal(err)
	}
	return int64(stats.HeapInuse), resident << 10
}
