package benchcmd

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/benchrun"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func validateCommand(b *bencher) *cobra.Command {
	var cfg benchrun.ValidateConfig
	var tokens sizes
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Measure a service's validator, which a server feeds",
		Long: `Measure a service's validator in this process, which the server feeds with keys and
revocations: tokens that it has seen before, beside one time.Since, and tokens that it sees for
the first time, beside the raw signature check.

The server signs the tokens first: 100k of them take a while.` + benchHelp,
		Example: `  tokenbroker-bench validate --tokens 1,1k,10k,100k --plot validate.svg
  tokenbroker-bench validate --goroutines 1,2,4,8`,
		Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.checkService(); err != nil {
				return err
			}
			if cfg.Tokens = tokens.or(1, 1000, 100_000); slices.Max(cfg.Tokens) > maxSessions {
				return fmt.Errorf("%w: --tokens: want at most %d", terminal.ErrUsage, maxSessions)
			}
			for _, n := range cfg.Goroutines {
				if n < 1 || n > maxClients {
					return fmt.Errorf("%w: --goroutines %d: want 1 to %d", terminal.ErrUsage, n, maxClients)
				}
			}
			if len(cfg.Goroutines) == 0 {
				cfg.Goroutines = slices.Compact([]int{1, runtime.GOMAXPROCS(0)})
			}
			return b.run(cmd.Context(), "validate", false, func(ctx context.Context, bench *benchrun.Bench) error {
				return bench.Validate(ctx, cfg)
			})
		},
	}
	cmd.Flags().Var(&tokens, "tokens", "live tokens that the validator has seen, one number or a list: 1,1k,100k (the default)")
	cmd.Flags().IntSliceVar(&cfg.Goroutines, "goroutines", nil, "goroutines that validate at once, one number or a list (default: 1 and one for each core)")
	b.serviceFlags(cmd)
	return cmd
}
