package badgerstore_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the test binary as the child process of a test if the environment asks for it.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("BADGERSTORE_TEST_CHILD") {
	case "":
		goleak.VerifyTestMain(m,
			// The flush goroutine of glog, a dependency of Badger, cannot be stopped.
			goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
			// Badger leaves these goroutines when it refuses damaged files; the process then ends.
			goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
			goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
		return
	case "commit":
		err = commitUntilKilled(os.Getenv("BADGERSTORE_TEST_DIR"))
	case "full":
		err = closeOnAFullDisk(os.Getenv("BADGERSTORE_TEST_DIR"))
	case "lock":
		err = holdLock(os.Getenv("BADGERSTORE_TEST_DIR"))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
