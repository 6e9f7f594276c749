package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// memory returns the heap in use and the resident memory of the process without file mappings, in
// bytes, after a garbage collection. The kernel can reclaim the pages of Badger's mapped files.
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
