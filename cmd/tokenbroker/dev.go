package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/api/origin"
	"tokenbroker/broker"
	"tokenbroker/broker/customclaims"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/config"
	"tokenbroker/docs"
)

// What dev seeds. These are known to everybody: they are for loopback alone.
const (
	devUser, devPassword  = "admin", "admin"
	devBrowserClient      = "demo-spa"
	devServiceClient      = "demo-service"
	devServiceSecret      = "demo-service-secret"
	devAudience, devScope = "demo-api", "hello:read"
	exitUncertain         = 70 // the outcome of a commit is unknown
	devDataDirPattern     = "tokenbroker-dev-*"
	defaultListen         = "127.0.0.1:8080"
	defaultAdminListen    = "127.0.0.1:8081"
	defaultSampleListen   = "127.0.0.1:8082"
	defaultIDPListen      = "127.0.0.1:9090"
	defaultNATSListen     = "127.0.0.1:4222"
)

type devOptions struct {
	idpListen                                                        string
	dataDir, listen, adminListen, sampleListen, natsListen, logLevel string
	origins                                                          []string
}

func devCommand(stdout, stderr io.Writer) *cobra.Command {
	var opts devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: broker, NATS, store and sample services",
		Long: `Run everything on this machine, on loopback, with nothing to install: the broker, an
embedded NATS server, the store and three sample services, with the user admin / admin.

Pages of every loopback origin, such as http://localhost:5173, may call the broker and the sample
services. A page must reach the broker by the host that it is at itself, localhost or 127.0.0.1:
browsers do not send the session's cookie from one to the other.

Ctrl-C (or SIGTERM) drains and stops.`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDev(cmd.Context(), opts, stdout, stderr)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.dataDir, "data-dir", "", "keep the data here across runs (default: a temporary directory, removed at the end)")
	flags.StringVar(&opts.listen, "listen", defaultListen, "the broker's address")
	flags.StringVar(&opts.adminListen, "admin-listen", defaultAdminListen, "the operators' address (/metrics, with a bearer token)")
	flags.StringVar(&opts.sampleListen, "sample-listen", defaultSampleListen,
		"the first sample service's address, or all three separated by commas; the others are by default on ports 10 and 11 above the first, or on free ones")
	flags.StringVar(&opts.natsListen, "nats-listen", defaultNATSListen, "the embedded NATS server's address")
	flags.StringVar(&opts.idpListen, "idp-listen", defaultIDPListen, "the address of the Cognito emulator")
	flags.StringArrayVar(&opts.origins, "origin", nil, "allow pages of this origin, as http://app.test:5173, in addition to those on loopback, which are all allowed (repeatable)")
	flags.StringVar(&opts.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// runDev serves until ctx ends or a listener fails.
func runDev(ctx context.Context, opts devOptions, stdout, stderr io.Writer) (err error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(opts.logLevel)); err != nil {
		return fmt.Errorf("%w: --log-level %q: want debug, info, warn or error", errUsage, opts.logLevel)
	}
	sampleAddrs, err := sampleAddresses(opts.sampleListen)
	if err != nil {
		return err
	}
	for _, addr := range append(slices.Clone(sampleAddrs), opts.listen, opts.adminListen, opts.natsListen, opts.idpListen) {
		if !onLoopback(addr) {
			return fmt.Errorf("%w: %q is not a loopback address: dev has known passwords and is for this machine alone", errUsage, addr)
		}
	}
	if err := canonicalOrigins(opts.origins); err != nil {
		return err
	}
	logger := logging.New(stderr, logging.Config{Level: level, Format: logging.FormatText})
	warnOfIgnored(logger, os.Environ())
	dataDir, removeData, err := devDataDir(opts.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeData()) }()

	samples, err := listenSamples(sampleAddrs)
	if err != nil {
		return err
	}
	defer samples.close()
	idp, err := listenIDP(opts.idpListen, "--idp-listen", devPool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, idp.stop()) }()
	claims, err := customclaims.New(customclaims.Config{Roles: true, Groups: true, UserObject: []string{"id", "username", "roles", "groups"}})
	if err != nil {
		return fmt.Errorf("making the claims: %w", err)
	}
	n, err := node.Start(ctx, node.Config{
		DataDir: dataDir, Listen: opts.listen, Version: version(),
		Admin: node.Admin{Listen: opts.adminListen}, NATS: node.NATS{Listen: opts.natsListen, InsecureAnonymous: true},
		RotateEvery: 30 * 24 * time.Hour, Audience: []string{devAudience}, BrowserClient: devBrowserClient, BrowserScope: devScope,
		Clients: []broker.Client{
			{ID: devBrowserClient, Scopes: []string{devScope}},
			{ID: devServiceClient, Secret: devServiceSecret, Scopes: []string{devScope}},
		},
		CustomClaims: claims, Origins: opts.origins,
		Providers: func(_ string, via node.Transport) (map[string]node.Provider, error) {
			return idp.provide(opts.origins, via)
		},
		InsecureCookies: true, InsecureDevelopment: true,
		DemoSamples: samples.urls(), DemoThief: samples.thiefURL(), DemoDocs: docs.Files,
		Logger: logger, Fatal: endAtOnce(logger),
	})
	if err != nil {
		return unlessStopped(ctx, fmt.Errorf("starting: %w", err))
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	var taken *broker.Error
	_, err = n.Broker().AddUser(ctx, broker.NewUser{Username: devUser, Password: devPassword, InsecureSkipPasswordRules: true}, broker.Request{})
	if err != nil && (!errors.As(err, &taken) || taken.Code != broker.CodeUserExists) {
		return unlessStopped(ctx, fmt.Errorf("seeding the user %s: %w", devUser, err))
	}
	defer func() { err = errors.Join(err, samples.stop()) }()
	if err := samples.start(ctx, n, logger); err != nil {
		return unlessStopped(ctx, err)
	}

	forget, err := adminclient.WritePointer(adminclient.Pointer{
		PID: os.Getpid(), Socket: n.AdminSocket(), AdminURL: n.AdminURL(), TokenFile: filepath.Join(dataDir, node.AdminTokenFile),
	})
	if err != nil {
		logger.Warn("operators' commands will not find this server by themselves: name it with --data-dir", "error", err)
	} else {
		defer func() { err = errors.Join(err, forget()) }()
	}
	if err := printBanner(stdout, n, samples.urls(), idp.issuer(), dataDir, opts.dataDir == "", opts.origins); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		logger.Info("stopping: draining what was accepted")
		return nil
	case err := <-n.Failed():
		return fmt.Errorf("the broker's listener ended: %w", err)
	case err := <-samples.failed:
		return fmt.Errorf("a sample service's listener ended: %w", err)
	}
}

// warnOfIgnored names the variables that configure serve: dev has its own settings.
func warnOfIgnored(logger *slog.Logger, environ []string) {
	ignored := config.Variables(environ)
	if slices.ContainsFunc(environ, func(variable string) bool { return strings.HasPrefix(variable, configEnv+"=") }) {
		ignored = append(ignored, configEnv)
	}
	if len(ignored) > 0 {
		logger.Warn("dev ignores the variables that configure serve", "variables", strings.Join(ignored, " "), "hint", "use dev's flags, or tokenbroker serve")
	}
}

// canonicalOrigins writes each origin as browsers do.
func canonicalOrigins(origins []string) error {
	for i, o := range origins {
		u, err := origin.Parse(o)
		if err != nil {
			return fmt.Errorf("%w: --origin: %w", errUsage, err)
		}
		origins[i] = origin.Of(u)
	}
	return nil
}

// onLoopback reports whether addr is a loopback IP address with a port.
func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

// devDataDir returns the data directory and what to do with it at the end.
func devDataDir(dir string) (string, func() error, error) {
	if dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return "", nil, fmt.Errorf("naming the data directory: %w", err)
		}
		return dir, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", devDataDirPattern)
	if err != nil {
		return "", nil, fmt.Errorf("making a temporary data directory: %w (name one with --data-dir)", err)
	}
	remove := sync.OnceValue(func() error {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing the temporary data directory: %w", err)
		}
		return nil
	})
	return dir, remove, nil
}
