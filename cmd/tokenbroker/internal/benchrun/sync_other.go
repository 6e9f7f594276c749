//go:build !linux

package benchrun

import "os"

// syncData syncs all there is of a file.
func syncData(f *os.File) error { return f.Sync() }
