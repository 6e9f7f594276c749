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

// maxSubscribers is the maximum number of validators in one process, because each has a connection
// and goroutines.
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
	cmd.Flags().Float64Var(&cfg.Rate, "rate", 50, "log-offs per second")
	cmd.Flags().StringVar(&cfg.By, "by", benchrun.ByLogOff, "who ends the sessions: log-off or revoke")
	b.serviceFlags(cmd, "with --url: ")
	return cmd
}

// maxWatched is the maximum of log-offs times subscribers. Each takes about 1 KiB.
const maxWatched = 1_000_000

func (b *bencher) checkPropagation(cfg benchrun.PropagationConfig) error {
	if err := b.checkService(); err != nil {
		return err
	}
	if err := checkRate("--rate", cfg.Rate, false); err != nil {
		return err
	}
	most := slices.Max(cfg.Subscribers)
	// Each log-off ends a session, and each subscriber watches each session.
	logOffs := cfg.Rate * (b.duration.Seconds() + float64(b.turns)*b.warmup.Seconds())
	switch {
	case most > maxSubscribers:
		return fmt.Errorf("%w: --subscribers %d: want 1 to %d", terminal.ErrUsage, most, maxSubscribers)
	case logOffs*float64(most) > maxWatched:
		return fmt.Errorf("%w: %.0f log-offs watched by %d subscribers are more than %d: lower --rate, --duration or --subscribers", terminal.ErrUsage, logOffs, most, maxWatched)
	case cfg.By != benchrun.ByLogOff && cfg.By != benchrun.ByRevoke:
		return fmt.Errorf("%w: --by %q: want %s or %s", terminal.ErrUsage, cfg.By, benchrun.ByLogOff, benchrun.ByRevoke)
	case cfg.By == benchrun.ByRevoke && b.url != "":
		return fmt.Errorf("%w: --by revoke uses the admin API, which is available only at the benchmark's own server, not at --url", terminal.ErrUsage)
	}
	return nil
}

func refreshCommand(b *bencher) *cobra.Command {
	var cfg benchrun.RefreshConfig
	var rate float64
	cmd := &cobra.Command{
		Use:   "refresh",
		Short: "Measure durable refreshes over HTTP",
		Long: `Measure durable refreshes over HTTP: closed loop (each client asks again as soon as it was
answered), or with --rate an open one (requests arrive at that rate, however fast they are answered, and
a latency counts from when its request was meant to be sent).

The floor is a gin handler that makes one ES256 signature and stores nothing, under the same
load; with --url it is GET /livez of the server.` + benchHelp,
		Example: `  tokenbroker-bench refresh --clients 1,2,4,8,16,32,64 --plot refresh.svg
  tokenbroker-bench refresh --rate 2000 --clients 256 --output json
  read -rs P; printf %s "$P" | tokenbroker-bench refresh --url http://127.0.0.1:8080 --username ada --password-stdin`,
		Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Rate = rate
			if err := checkClients(cfg.Clients); err != nil {
				return err
			}
			if err := checkRate("--rate", rate, true); err != nil {
				return err
			}
			if cfg.Sessions < 0 || cfg.Sessions > maxSessions {
				return fmt.Errorf("%w: --sessions %d: want at most %d", terminal.ErrUsage, cfg.Sessions, maxSessions)
			}
			return b.run(cmd.Context(), "refresh", false, func(ctx context.Context, bench *benchrun.Bench) error {
				return bench.Refresh(ctx, cfg)
			})
		},
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&cfg.Clients, "clients", []int{64}, "number of concurrent clients; each number of a list is measured, and plotted")
	flags.Float64Var(&rate, "rate", 0, "arrivals per second (default: none, a closed loop)")
	flags.IntVar(&cfg.Sessions, "sessions", 0, "sessions that the clients refresh in turn (default: one for each client)")
	return cmd
}

func validateCommand(b *bencher) *cobra.Command {
	var cfg benchrun.ValidateConfig
	var tokens sizes
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Measure a service's validator, connected to a server",
		Long: `Measure a service's validator in this process, which the server feeds with keys and
revocations: tokens that it has seen before, compared with one time.Since, and tokens that it sees for
the first time, compared with the raw signature check.

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
	cmd.Flags().IntSliceVar(&cfg.Goroutines, "goroutines", nil, "goroutines that validate concurrently, one number or a list (default: 1 and one for each core)")
	b.serviceFlags(cmd, "with --url: ")
	return cmd
}
