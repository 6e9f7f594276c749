// Package buildinfo returns the version of tokenbroker that a binary is.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// version and revision are set by the linker in a release (.ci/release), whose binaries have no
// stamp of the version control system so that they can be reproduced from a source archive.
var version, revision string

// devel is the version that the Go tool records if it does not know one, as in `go run`.
const devel = "(devel)"

// Unstamped is the revision of a binary that was built outside of a clone, or by `go run`.
const Unstamped = "development build"

// Info describes a binary.
type Info struct {
	// Version is a release's tag, or what the Go tool recorded: a pseudo-version for a build in
	// a clone, otherwise "(devel)".
	Version string `json:"version"`
	// Revision is the commit, or [Unstamped] if it is not known.
	Revision string `json:"revision"`
	Go       string `json:"go"`
}

// Read returns the information of the running binary.
func Read() Info {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return of(info, version, revision)
}

// of prefers what was passed to the linker to what the Go tool recorded.
func of(info *debug.BuildInfo, version, revision string) Info {
	i := Info{Version: cmp.Or(version, info.Main.Version, devel), Go: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			i.Revision = s.Value
		}
	}
	i.Revision = cmp.Or(revision, i.Revision, Unstamped)
	return i
}

// String returns the version in one line.
func (i Info) String() string {
	if i.Version == devel {
		return fmt.Sprintf("tokenbroker, %s (%s)", i.Revision, i.Go)
	}
	return fmt.Sprintf("tokenbroker %s (%s, %s)", i.Version, i.Revision, i.Go)
}
