//go:build nodev

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// developmentServer reports whether this build has the commands dev and idp.
const developmentServer = false

func devCommand(_ io.Reader, _, _ io.Writer) *cobra.Command {
	return leftOut("dev", "development server")
}

func idpCommand(io.Writer) *cobra.Command { return leftOut("idp", "Cognito emulator") }

// leftOut returns a hidden command that says how to get a build with what it names.
func leftOut(name, what string) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("%w: %s: this build has no %s (it was built with -tags nodev): in the source tree run 'go run ./cmd/tokenbroker %s', or build without that tag",
				terminal.ErrUsage, name, what, name)
		},
	}
}
