package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// errBenchMoved is the answer to `tokenbroker bench`, which was a command of this binary.
var errBenchMoved = errors.New("bench is a binary of its own: run tokenbroker-bench with the same arguments, or in the source tree: go run ./cmd/tokenbroker-bench")

// benchCommand refuses whatever follows it. The benches are not in this binary because they draw:
// 73 packages that it would be compiled from are for plots.
func benchCommand() *cobra.Command {
	return &cobra.Command{
		Use: "bench", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error { return errBenchMoved },
	}
}
