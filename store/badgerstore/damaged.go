package badgerstore

import "fmt"

// DamagedError reports that the files of a store are damaged, or lack what was committed. The
// store was not opened: it could not tell what was revoked.
type DamagedError struct {
	Dir string
	// Cause names the file or the records, and what is wrong with them.
	Cause error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the store in %s is damaged: %v", e.Dir, e.Cause)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Cause }
