package benchcmd

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/benchrun"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// maxSubscribers bounds the validators in one process: each has a connection and goroutines.
const maxSubscribers = 1000

func propagationCommand(b *bencher) *cobra.Command {
	var cfg benchrun.PropagationConfig
	var subscribers sizes
	cmd := &cobra.Command{
		Use:   "propagation",
		Short: "Measure how long a log-off takes to be in force in every service",
		Long: `Measure how long a log-off takes to be in force in every service: from when its request was
meant to be sent until the last of the validators in this process refuses the session's token.
Each has a connection of its own. Log-offs arrive at a constant rate. With --by revoke it is
an operator who ends the sessions, over the admin API.

The floor is one fsync, one raw NATS publish and one Ed25519 check by each of as many
subscribers; with --url it is GET /livez of the server.` + benchHelp,
		Example: `  tokenbroker-bench propagation --subscribers 1,10,100 --plot propagation.svg
  tokenbroker-bench propagation --subscribers 10 --rate 200 --duration 20s`,
		Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Subscribers = subscribers.or(10)
			if err := b.checkPropagation(cfg); err != nil {
				return err
			}
			return b.run(cmd.Context(), "propagation", false, func(ctx context.Context, bench *benchrun.Bench) error {
				return bench.Propagation(ctx, cfg)
			})
		},
	}
	cmd.Flags().Var(&subscribers, "subscribers", "validators in this process, one number or a list (default: 10)")
	cmd.Flags().Float64Var(&cfg.Rate, "rate", 50, "log-offs a second")
	cmd.Flags().StringVar(&cfg.By, "by", benchrun.ByLogOff, "who ends the sessions: log-off or revoke")
	b.serviceFlags(cmd)
	return cmd
}

// maxWatched bounds log-offs times subscribers: about 1 KiB each.
const maxWatched = 1_000_000

func (b *bencher) checkPropagation(cfg benchrun.PropagationConfig) error {
	if err := b.checkService(); err != nil {
		return err
	}
	if err := checkRate("--rate", cfg.Rate, false); err != nil {
		return err
	}
	most := slices.Max(cfg.Subscribers)
	// Each log-off takes a session, and each subscriber watches each of them.
	logOffs := cfg.Rate * (b.duration.Seconds() + float64(b.turns)*b.warmup.Seconds())
	switch {
	case most > maxSubscribers:
		return fmt.Errorf("%w: --subscribers %d: want 1 to %d", terminal.ErrUsage, most, maxSubscribers)
	case logOffs*float64(most) > maxWatched:
		return fmt.Errorf("%w: %.0f log-offs watched by %d subscribers are more than %d: lower --rate, --duration or --subscribers", terminal.ErrUsage, logOffs, most, maxWatched)
	case cfg.By != benchrun.ByLogOff && cfg.By != benchrun.ByRevoke:
		return fmt.Errorf("%w: --by %q: want %s or %s", terminal.ErrUsage, cfg.By, benchrun.ByLogOff, benchrun.ByRevoke)
	case cfg.By == benchrun.ByRevoke && b.url != "":
		return fmt.Errorf("%w: --by revoke asks the operators' API: that is for the bench's own server, not for --url", terminal.ErrUsage)
	}
	return nil
}
