// Package buildinfo tells which version of tokenbroker a binary is.
package buildinfo

import (
	"fmt"
	"runtime/debug"
)

// Info is what the Go tool recorded about this binary.
type Info struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
}

// Read returns the information of the running binary.
func Read() Info {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Info{Version: "unknown build"}
	}
	b := Info{Version: info.Main.Version, Revision: "development build", Go: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}

// String returns the version in one line.
func (i Info) String() string {
	return fmt.Sprintf("tokenbroker %s (%s, %s)", i.Version, i.Revision, i.Go)
}
