//go:build !linux

package bench

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// memory returns the bytes of heap in use after a collection. The resident size is not available on this
// system.
func memory(testing.TB) (heap, resident int64) {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse), 0
}
