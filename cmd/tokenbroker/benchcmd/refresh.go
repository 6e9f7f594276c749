package benchcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/benchrun"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// maxClients bounds the clients of a bench, each of which has a connection.
const maxClients = 4096

func refreshCommand(b *bencher) *cobra.Command {
	var cfg benchrun.RefreshConfig
	var rate float64
	cmd := &cobra.Command{
		Use:   "refresh",
		Short: "Measure durable refreshes over HTTP",
		Long: `Measure durable refreshes over HTTP: closed loop (each client asks again as soon as it was
answered), or with --rate an open one (requests arrive at that rate whatever the answers do, and
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
	flags.IntSliceVar(&cfg.Clients, "clients", []int{64}, "clients at once; a list measures each, and is plotted")
	flags.Float64Var(&rate, "rate", 0, "arrivals a second (default: none, a closed loop)")
	flags.IntVar(&cfg.Sessions, "sessions", 0, "sessions that the clients refresh in turn (default: one for each client)")
	return cmd
}

// maxSessions and maxRate bound what a bench can be asked for.
const (
	maxSessions = 1_000_000
	maxRate     = 1_000_000
)

// checkClients refuses a list that cannot be.
func checkClients(clients []int) error {
	if len(clients) == 0 {
		return fmt.Errorf("%w: --clients: want a number or a list of them", terminal.ErrUsage)
	}
	for _, n := range clients {
		if n < 1 || n > maxClients {
			return fmt.Errorf("%w: --clients %d: want 1 to %d", terminal.ErrUsage, n, maxClients)
		}
	}
	return nil
}

// checkRate refuses a rate that cannot be; none (0) may be one that can.
func checkRate(flag string, rate float64, noneIsGood bool) error {
	if rate == 0 && noneIsGood {
		return nil
	}
	if !(rate > 0) || rate > maxRate { // NaN is neither
		return fmt.Errorf("%w: %s %v: want a number a second, at most %d", terminal.ErrUsage, flag, rate, maxRate)
	}
	return nil
}
