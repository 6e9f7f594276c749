package benchcmd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/bench/curve"
	"tokenbroker/cmd/tokenbroker/internal/benchrun"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func capacityCommand(b *bencher) *cobra.Command {
	cfg := benchrun.CapacityConfig{Limits: curve.Limits{Achieved: 0.98}}
	var operation string
	var clients int
	var filled sizes
	cmd := &cobra.Command{
		Use:   "capacity",
		Short: "Find the rate up to which a server keeps its latency, or how its cost grows",
		Long: `Find the knee: the highest rate of arrivals at which the p99 stays within --slo, nothing fails
and at least 98 % of what arrives is answered in time. The rate doubles from --from to --to, or
rises by --step, until that does not hold in two tries; then the gap around the knee is halved --halvings
times. Latencies count from when a request was meant to be sent.

The floor is measured once, in a closed loop of 64 clients: for refresh a gin handler that makes
one ES256 signature, for verify one that reads and writes as many bytes, for sign-in argon2id.

With --sizes it measures refreshes in a closed loop with more and more sessions in the store, and
says by which law the cost grows: O(1), O(log n) or O(n).` + benchHelp,
		Example: `  tokenbroker-bench capacity --slo 15ms --plot capacity.svg
  tokenbroker-bench capacity --operation verify --from 1000 --step 1000 --to 20000
  tokenbroker-bench capacity --sizes 1k,10k,100k --clients 64 --plot growth.svg`,
		Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Operation = benchrun.Operation(operation)
			if err := checkCapacity(cmd, cfg, clients, filled); err != nil {
				return err
			}
			if len(filled) > 0 {
				return b.run(cmd.Context(), "capacity", false, func(ctx context.Context, bench *benchrun.Bench) error {
					return bench.Growth(ctx, benchrun.GrowthConfig{Sizes: filled, Clients: clients})
				})
			}
			cfg.Clients = clients
			return b.run(cmd.Context(), "capacity", cfg.Operation == benchrun.OperationSignIn, func(ctx context.Context, bench *benchrun.Bench) error {
				return bench.Capacity(ctx, cfg)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&operation, "operation", string(benchrun.OperationRefresh), "the operation to measure: refresh, verify or sign-in")
	flags.IntVar(&clients, "clients", 256, "maximum number of concurrent requests")
	flags.Float64Var(&cfg.Ramp.From, "from", 500, "the first rate, in arrivals per second")
	flags.Float64Var(&cfg.Ramp.To, "to", 64_000, "the last rate")
	flags.Float64Var(&cfg.Ramp.Step, "step", 0, "how much the rate rises each time (default: it doubles)")
	flags.IntVar(&cfg.Ramp.Halvings, "halvings", 3, "how often the gap around the knee is halved")
	flags.DurationVar(&cfg.Limits.P99, "slo", 15*time.Millisecond, "the maximum p99")
	flags.Var(&filled, "sizes", "numbers of sessions in the store, as in 1k,10k,100k: the cost of a refresh over them")
	return cmd
}

// maxHalvings is the maximum of --halvings, after which the gap is a thousandth of the rate.
const maxHalvings = 10

func checkCapacity(cmd *cobra.Command, cfg benchrun.CapacityConfig, clients int, filled sizes) error {
	if err := checkClients([]int{clients}); err != nil {
		return err
	}
	if len(filled) > 0 {
		for _, name := range []string{"operation", "from", "to", "step", "halvings", "slo"} {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("%w: --%s is not for --sizes, which measures refreshes in a closed loop", terminal.ErrUsage, name)
			}
		}
		if slices.Max(filled) > maxSessions {
			return fmt.Errorf("%w: --sizes: want at most %d", terminal.ErrUsage, maxSessions)
		}
		return nil
	}
	if !slices.Contains(benchrun.Operations, cfg.Operation) {
		return fmt.Errorf("%w: --operation %q: want refresh, verify or sign-in", terminal.ErrUsage, string(cfg.Operation))
	}
	for _, flag := range []struct {
		name string
		rate float64
		none bool
	}{{"--from", cfg.Ramp.From, false}, {"--to", cfg.Ramp.To, false}, {"--step", cfg.Ramp.Step, true}} {
		if err := checkRate(flag.name, flag.rate, flag.none); err != nil {
			return err
		}
	}
	switch {
	case cfg.Ramp.From > cfg.Ramp.To:
		return fmt.Errorf("%w: --from %v is above --to %v", terminal.ErrUsage, cfg.Ramp.From, cfg.Ramp.To)
	case cfg.Ramp.Halvings < 0 || cfg.Ramp.Halvings > maxHalvings:
		return fmt.Errorf("%w: --halvings %d: want 0 to %d", terminal.ErrUsage, cfg.Ramp.Halvings, maxHalvings)
	case cfg.Limits.P99 <= 0:
		return fmt.Errorf("%w: --slo %v: want a time above 0", terminal.ErrUsage, cfg.Limits.P99)
	}
	return nil
}
