//go:build !unix

package bench

import (
	"testing"
	"time"
)

func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	tb.Skip("the processor time of a process is measured on Unix only")
	return 0
}
