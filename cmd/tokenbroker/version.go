package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildInfo is what the Go tool recorded about this binary.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
}

func versionCommand(o *operator) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Long:    "Print the version of this binary, the revision it was built from and the Go version. No server is asked.",
		Example: "  tokenbroker version --output json",
		Args:    unknownCommand,
		RunE: func(*cobra.Command, []string) error {
			info := build()
			return o.emit(info, func(w io.Writer) { _, _ = fmt.Fprintln(w, info) })
		},
	}
	outputFlag(cmd, &o.format)
	return cmd
}

func build() buildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return buildInfo{Version: "unknown build"}
	}
	b := buildInfo{Version: info.Main.Version, Revision: "development build", Go: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}

// String is the version in one line.
func (b buildInfo) String() string {
	return fmt.Sprintf("tokenbroker %s (%s, %s)", b.Version, b.Revision, b.Go)
}

// version is the one line, for whatever names this binary.
func version() string { return build().String() }
