package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Args:  unknownCommand,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, version())
			return err
		},
	}
}

// version is what the Go tool recorded about this binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "tokenbroker (unknown build)"
	}
	revision := "development build"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return fmt.Sprintf("tokenbroker %s (%s, %s)", info.Main.Version, revision, info.GoVersion)
}
