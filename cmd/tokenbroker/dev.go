//go:build !nodev

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
)

// developmentServer reports whether this build has the commands dev and idp: -tags nodev leaves them out.
const developmentServer = true

// defaultIDPListen is the address of the Cognito emulator, of dev and of idp.
const defaultIDPListen = "127.0.0.1:9090"

func devCommand(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	opts := devserver.Options{Stdout: stdout, Stderr: stderr, Version: version(), Fatal: endAtOnce}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: broker, NATS, store and sample services",
		Long: `Run everything on this machine, on loopback, with nothing to install: the broker, an
embedded NATS server, the store and three sample services, with the user admin / admin.

Pages of every loopback origin, such as http://localhost:5173, may call the broker and the sample
services. A page must reach the broker by the host that it is at itself, localhost or 127.0.0.1:
browsers do not send the session's cookie from one to the other.

With --brokers, so many brokers share an etcd cluster, and a proxy at --listen sends each request to the next of them.
Every broker and every member of the cluster is a process of its own, so that you can kill it.

Ctrl-C (or SIGTERM) drains and stops.`,
		Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("brokers") && (opts.Brokers < 1 || opts.Brokers > devserver.MaxBrokers) {
				return fmt.Errorf("%w: --brokers %d: want a number from 1 to %d", terminal.ErrUsage, opts.Brokers, devserver.MaxBrokers)
			}
			return devserver.Run(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.DataDir, "data-dir", "", "keep the data here across runs (default: a temporary directory, removed at the end)")
	flags.StringVar(&opts.Listen, "listen", config.DefaultListen, "the broker's address; by default it also listens on [::1]")
	flags.StringVar(&opts.AdminListen, "admin-listen", config.DefaultAdminListen, "the operators' address (/metrics, with a bearer token)")
	flags.StringVar(&opts.SampleListen, "sample-listen", "127.0.0.1:8082",
		"the first sample service's address, or all three separated by commas; the others are by default on ports 10 and 11 above the first, or on free ones")
	flags.StringVar(&opts.NATSListen, "nats-listen", config.DefaultNATSListen, "the embedded NATS server's address")
	flags.StringVar(&opts.EmulatorListen, "idp-listen", defaultIDPListen, "the address of the Cognito emulator")
	flags.StringArrayVar(&opts.Origins, "origin", nil, "allow pages of this origin, as http://app.test:5173, in addition to those on loopback, which are all allowed (repeatable)")
	flags.IntVar(&opts.Brokers, "brokers", 0, "run so many `BROKERS`, 1 to 5, on an etcd cluster (default: one broker with the embedded store)")
	flags.DurationVar(&opts.RestartAfter, "restart-after", 0, "with --brokers: start a process that ended again after this time, such as 5s (default: it stays down)")
	flags.StringVar(&opts.LogLevel, "log-level", "info", "debug, info, warn or error")
	child := devserver.ChildOptions{Version: version(), Stdin: stdin, Stdout: stdout, Stderr: stderr, Fatal: endAtOnce}
	cmd.AddCommand(childCommand(devserver.KindBroker, child, devserver.RunBroker), childCommand(devserver.KindMember, child, devserver.RunMember))
	return cmd
}

// childCommand is the command of a process that dev starts. It takes the file of its settings.
func childCommand(kind string, opts devserver.ChildOptions, run func(context.Context, string, devserver.ChildOptions) error) *cobra.Command {
	return &cobra.Command{
		Use: kind + " FILE", Hidden: true, Args: terminal.WantArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), args[0], opts) },
	}
}

func idpCommand(stdout io.Writer) *cobra.Command {
	opts := devserver.EmulatorOptions{Stdout: stdout}
	cmd := &cobra.Command{
		Use:   "idp",
		Short: "Run only the Cognito emulator, to try serve without AWS",
		Long: `Run only the Cognito emulator of dev, so that serve can be tried without AWS. It prints what to put
into the configuration. It keeps everything in memory, its users and passwords are published
(admin / admin, ada / ada), and it listens only on loopback.

Unless --redirect-uri or --logout-uri is given, it sends browsers back to any page on loopback.
With one of them only to those given, compared to the letter as Cognito does.`,
		Example: "  tokenbroker idp\n  tokenbroker idp --redirect-uri http://127.0.0.1:8080/auth/callback/cognito/ --logout-uri http://127.0.0.1:8080/",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return devserver.RunEmulator(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Listen, "listen", defaultIDPListen, "the emulator's address; the issuer of its users has it")
	flags.StringVar(&opts.UserPool, "user-pool", devserver.Pool, "the user pool's id")
	flags.StringVar(&opts.ClientID, "client-id", devserver.EmulatorClient, "the app client's id")
	flags.StringVar(&opts.ClientSecretFile, "client-secret-file", "", "file with the app client's secret (default: a public client, without one)")
	flags.StringArrayVar(&opts.RedirectURIs, "redirect-uri", nil, "an allowed callback URL (repeatable)")
	flags.StringArrayVar(&opts.LogoutURIs, "logout-uri", nil, "an allowed sign-out URL (repeatable)")
	return cmd
}
