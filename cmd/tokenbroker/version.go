package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/buildinfo"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func versionCommand(o *operator) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Long:    "Print the version of this binary, the revision it was built from and the Go version. No server is asked.",
		Example: "  tokenbroker version --output json",
		Args:    unknownCommand,
		RunE: func(*cobra.Command, []string) error {
			info := buildinfo.Read()
			return o.emit(info, func(w io.Writer) { _, _ = fmt.Fprintln(w, info) })
		},
	}
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

// version returns the version of this binary in one line.
func version() string { return buildinfo.Read().String() }
