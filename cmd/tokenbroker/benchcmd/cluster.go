package benchcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/benchrun"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// clusterOptions are the flags of cluster.
type clusterOptions struct {
	cfg       benchrun.ClusterConfig
	processes string
}

func clusterCommand(b *bencher) *cobra.Command {
	var o clusterOptions
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Measure several brokers, and what their clients perceive of faults",
		Long: `Measure refreshes at several brokers: one at a time, and with many clients, compared with appends to
a file that are synced one after the other.

With --processes it measures the brokers and etcd members of this machine that the file lists, as
the processes.json of tokenbroker dev --brokers does, and their CPU time. It adds users over the admin API, and
removes them at the end. --faults kills or stops processes of the file while clients refresh and log
off. Each client checks that nothing that was acknowledged is missing afterwards; if something is, the
exit code is 1. With --client-id, validators follow the revocations meanwhile.

With --url it measures latencies and rates of the brokers behind that URL.`,
		Example: `  tokenbroker dev --brokers 3 --data-dir dev-data --restart-after 5s
  tokenbroker-bench cluster --processes dev-data/processes.json --client-id demo-service --faults broker,frozen-leader,follower,leader
  printf admin | tokenbroker-bench cluster --url http://127.0.0.1:8080 --username admin --password-stdin --clients 1,64`,
		Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.cluster(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&o.cfg.Clients, "clients", []int{1, 64, 256}, "numbers of concurrent clients")
	flags.StringVar(&o.processes, "processes", "", "the `FILE` that lists the processes of the cluster on this machine")
	flags.StringSliceVar(&o.cfg.Faults, "faults", nil, "faults to inject, a list of "+strings.Join(benchrun.Faults, ", ")+" (default: none)")
	b.serviceFlags(cmd, "")
	return cmd
}

func (b *bencher) cluster(ctx context.Context, o clusterOptions) error {
	if err := errors.Join(b.check(), checkClients(o.cfg.Clients), b.checkCluster(o)); err != nil {
		return err
	}
	measure := func(ctx context.Context, bench *benchrun.Bench) error { return bench.Cluster(ctx, o.cfg) }
	if o.processes == "" {
		o.cfg.Dir = cmp.Or(b.tempDir, os.TempDir())
		server, stop, err := b.server(ctx, false)
		if err != nil {
			return benchError(err)
		}
		return b.runAt(ctx, "cluster", server, stop, o.cfg.Dir, measure)
	}
	o.cfg.Dir = cmp.Or(b.tempDir, filepath.Dir(o.processes))
	processes, err := benchrun.ReadProcesses(o.processes)
	if err != nil {
		return benchError(err)
	}
	options, err := b.options()
	if err != nil {
		return err
	}
	server, stop, err := benchrun.AtProcesses(ctx, options, processes, o.cfg.Sessions(b.duration))
	if err != nil {
		return benchError(err)
	}
	return b.runAt(ctx, "cluster", server, stop, o.cfg.Dir, measure)
}

func (b *bencher) checkCluster(o clusterOptions) error {
	for _, name := range o.cfg.Faults {
		if !slices.Contains(benchrun.Faults, name) {
			return fmt.Errorf("%w: --faults %q: want a list of %s", terminal.ErrUsage, name, strings.Join(benchrun.Faults, ", "))
		}
	}
	switch {
	case (b.url == "") == (o.processes == ""):
		return fmt.Errorf("%w: set one of --processes and --url: cluster has no server of its own; start one with tokenbroker dev --brokers 3", terminal.ErrUsage)
	case o.processes == "" && len(o.cfg.Faults) > 0:
		return fmt.Errorf("%w: --faults kills processes of this machine: name them by --processes", terminal.ErrUsage)
	case o.processes != "" && (b.username != "" || b.passwordStdin):
		return fmt.Errorf("%w: --username and --password-stdin are for --url: with --processes the benchmark adds users of its own", terminal.ErrUsage)
	case b.clientID == "" && b.nats != "":
		return fmt.Errorf("%w: --nats is for validators: also set --client-id", terminal.ErrUsage)
	}
	return nil
}
