//go:build !linux

package benchrun

import "os"

// syncData syncs a file with its metadata.
func syncData(f *os.File) error { return f.Sync() }
