package badgerstore_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the child process of the tests that need one.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("BADGERSTORE_TEST_CHILD") {
	case "":
		goleak.VerifyTestMain(m,
			// glog's flusher comes with Badger's dependencies and cannot be stopped.
			goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
			// Badger leaves these when it does not open damaged files; the process then ends.
			goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
			goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
		return
	case "commit":
		err = commitForEver(os.Getenv("BADGERSTORE_TEST_DIR"))
	case "full":
		err = closeOnAFullDisk(os.Getenv("BADGERSTORE_TEST_DIR"))
	case "lock":
		err = holdLock(os.Getenv("BADGERSTORE_TEST_DIR"))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
