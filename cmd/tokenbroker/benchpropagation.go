package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/benchrun"
)

// maxSubscribers bounds the validators in one process: each has a connection and goroutines.
const maxSubscribers = 1000

func benchPropagationCommand(b *bencher) *cobra.Command {
	var cfg benchrun.PropagationConfig
	cmd := &cobra.Command{
		Use:   "propagation",
		Short: "Measure how long a log-off takes to be in force in every service",
		Long: `Measure how long a log-off takes to be in force in every service: from when its request was
meant to be sent until the last of the validators in this process refuses the session's token.
Each has a connection of its own. Log-offs arrive at a constant rate.

The floor is one fsync, one raw NATS publish and one Ed25519 check by each of as many
subscribers; with --url it is GET /livez of the server.` + benchHelp,
		Example: `  tokenbroker bench propagation --subscribers 100 --plot propagation.svg
  tokenbroker bench propagation --subscribers 10 --rate 200 --duration 20s`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.checkService(); err != nil {
				return err
			}
			if err := checkRate("--rate", cfg.Rate, false); err != nil {
				return err
			}
			if cfg.Subscribers < 1 || cfg.Subscribers > maxSubscribers {
				return fmt.Errorf("%w: --subscribers %d: want 1 to %d", errUsage, cfg.Subscribers, maxSubscribers)
			}
			// Each log-off takes a session, and each subscriber watches each of them.
			if sessions := cfg.Rate * (b.duration.Seconds() + float64(b.turns)*b.warmup.Seconds()); sessions*float64(cfg.Subscribers) > maxWatched {
				return fmt.Errorf("%w: %.0f log-offs watched by %d subscribers are more than %d: lower --rate, --duration or --subscribers", errUsage, sessions, cfg.Subscribers, maxWatched)
			}
			return b.run(cmd.Context(), "propagation", false, func(ctx context.Context, bench *benchrun.Bench) error {
				return bench.Propagation(ctx, cfg)
			})
		},
	}
	cmd.Flags().IntVar(&cfg.Subscribers, "subscribers", 10, "validators in this process")
	cmd.Flags().Float64Var(&cfg.Rate, "rate", 50, "log-offs a second")
	b.serviceFlags(cmd)
	return cmd
}

// maxWatched bounds log-offs times subscribers: about 1 KiB each.
const maxWatched = 1_000_000
