//go:build !linux

package bench

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// memory returns the heap in use in bytes after a collection; what is resident is not known here.
func memory(testing.TB) (heap, resident int64) {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse), 0
}
