// Package devserver runs a broker with everything around it on this machine, for development: an embedded
// NATS server, a store, a Cognito emulator and three sample services, one of which can also steal a cookie.
// Its users, passwords and secrets are published: everything listens only on loopback.
package devserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenbroker/api/origin"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
)

// The accounts of the development server.
const (
	User          = "admin"
	Password      = "admin"
	BrowserClient = "demo-spa"
	ServiceClient = "demo-service"
	ServiceSecret = "demo-service-secret"
	NativeClient  = "demo-native"
	WebClient     = "demo-web"
	WebSecret     = "demo-web-secret"
	Audience      = "demo-api"
	Scope         = "hello:read"
	// MCPAudience is the audience of examples/mcp, and MCPResource is its URI. Only clients that describe themselves get it.
	MCPAudience = "demo-mcp"
	MCPResource = "http://127.0.0.1:8085/mcp"
)

// Options are the settings of [Run]. All addresses must be on loopback.
type Options struct {
	// DataDir keeps the data. If empty, it is a temporary directory, which is removed at the end.
	DataDir string
	// Listen is the broker's address. With [config.DefaultListen] it also listens on [::1] if it can.
	Listen, AdminListen, NATSListen, EmulatorListen string
	// SampleListen is the address of the first sample service, or those of all three, separated by commas.
	SampleListen string
	// Origins are allowed in addition to those on loopback.
	Origins []string
	// LogLevel is debug, info, warn or error.
	LogLevel string
	// Brokers is how many brokers run on an etcd cluster behind a proxy at Listen, from 1 to [MaxBrokers], each broker and each
	// member of the cluster as a process of its own. If 0, one broker runs in this process with the embedded store.
	Brokers int
	// RestartAfter is how long after its end such a process is started again. If 0, it stays down.
	RestartAfter time.Duration
	Version      string
	// Stdout receives the text that says that everything answers, Stderr the log.
	Stdout, Stderr io.Writer
	// Fatal returns the function that ends the process when the outcome of a commit is unknown.
	Fatal func(*slog.Logger) func(error)
}

// Run serves until ctx ends or a listener fails, and stops what it has started. The error wraps
// [terminal.ErrUsage] if the options are wrong.
func Run(ctx context.Context, opts Options) (err error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(opts.LogLevel)); err != nil {
		return fmt.Errorf("%w: --log-level %q: want debug, info, warn or error", terminal.ErrUsage, opts.LogLevel)
	}
	sampleAddrs, err := sampleAddresses(opts.SampleListen)
	if err != nil {
		return err
	}
	for _, addr := range append(slices.Clone(sampleAddrs), opts.Listen, opts.AdminListen, opts.NATSListen, opts.EmulatorListen) {
		if !onLoopback(addr) {
			return fmt.Errorf("%w: %q is not a loopback address: dev has known passwords and is only for this machine", terminal.ErrUsage, addr)
		}
	}
	if err := canonicalOrigins(opts.Origins); err != nil {
		return err
	}
	if err := opts.checkBrokers(); err != nil {
		return err
	}
	r := &run{Options: opts, logger: logging.New(opts.Stderr, logging.Config{Level: level, Format: logging.FormatText})}
	warnOfIgnored(r.logger, os.Environ())
	var removeData func() error
	if r.dataDir, removeData, err = dataDirectory(opts.DataDir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeData()) }()

	if r.samples, err = listenSamples(sampleAddrs); err != nil {
		return err
	}
	defer r.samples.close()
	if r.emulator, err = listenEmulator(opts.EmulatorListen, "--idp-listen", Pool); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.emulator.stop()) }()
	if err := r.emulator.serveApp(opts.Origins); err != nil {
		return err
	}
	if opts.Brokers > 0 {
		return r.brokers(ctx)
	}
	return r.broker(ctx)
}

// run is one run of the development server.
type run struct {
	Options
	logger   *slog.Logger
	dataDir  string
	samples  *samples
	emulator *emulator
}

// broker serves with one broker in this process.
func (r *run) broker(ctx context.Context) (err error) {
	cfg, err := r.settings().config(r.logger)
	if err != nil {
		return err
	}
	cfg.LoopbackIPv6 = r.Listen == config.DefaultListen
	cfg.NATS = node.NATS{Listen: r.NATSListen, InsecureAnonymous: true}
	cfg.Version, cfg.Fatal = r.Version, r.Fatal(r.logger)
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return unlessStopped(ctx, fmt.Errorf("starting: %w", err))
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	defer func() { err = errors.Join(err, r.samples.stop()) }()
	if err := r.samples.start(ctx, n.Issuer(), n.NATSURL(), n.AllowsOrigin, r.logger); err != nil {
		return unlessStopped(ctx, err)
	}

	forget, err := adminclient.WritePointer(adminclient.Pointer{
		PID: os.Getpid(), Socket: n.AdminSocket(), AdminURL: n.AdminURL(), TokenFile: filepath.Join(r.dataDir, node.AdminTokenFile),
	})
	if err != nil {
		r.warnOfPointer(err)
	} else {
		defer func() { err = errors.Join(err, forget()) }()
	}
	if err := r.printReady(banner{Broker: n.Issuer(), Admin: n.AdminURL(), TokenFile: filepath.Join(r.dataDir, node.AdminTokenFile), NATS: n.NATSURL(), Degraded: n.Degraded(ctx)}); err != nil {
		return err
	}
	return r.wait(ctx, n.Failed())
}

// wait returns when ctx ends or a listener fails; failed is that of the broker's listener or the proxy's.
func (r *run) wait(ctx context.Context, failed <-chan error) error {
	select {
	case <-ctx.Done():
		r.logger.Info("stopping: draining what was accepted")
		return nil
	case err := <-failed:
		return fmt.Errorf("the broker's listener ended: %w", err)
	case err := <-r.samples.failed:
		return fmt.Errorf("a sample service's listener ended: %w", err)
	}
}

func (r *run) warnOfPointer(err error) {
	r.logger.Warn("operators' commands cannot find this server without a flag: name it with --data-dir", "error", err)
}

// addUser adds the user, unless the data of an earlier run has it.
func addUser(ctx context.Context, n *node.Node) error {
	_, err := n.Operators().AddUser(ctx, operator.NewUser{Username: User, Password: Password, InsecureSkipPasswordRules: true}, broker.Request{})
	var refused *broker.Error
	if err != nil && (!errors.As(err, &refused) || refused.Code != broker.CodeUserExists) {
		return fmt.Errorf("seeding the user %s: %w", User, err)
	}
	return nil
}

// warnOfIgnored logs the variables that configure serve, because dev does not read them.
func warnOfIgnored(logger *slog.Logger, environ []string) {
	ignored := config.Variables(environ)
	if slices.ContainsFunc(environ, func(variable string) bool { return strings.HasPrefix(variable, adminclient.EnvConfig+"=") }) {
		ignored = append(ignored, adminclient.EnvConfig)
	}
	if len(ignored) > 0 {
		logger.Warn("dev ignores the variables that configure serve", "variables", strings.Join(ignored, " "), "hint", "use dev's flags, or tokenbroker serve")
	}
}

// canonicalOrigins replaces each origin by the form in which browsers send it.
func canonicalOrigins(origins []string) error {
	for i, o := range origins {
		u, err := origin.Parse(o)
		if err != nil {
			return fmt.Errorf("%w: --origin: %w", terminal.ErrUsage, err)
		}
		origins[i] = origin.Of(u)
	}
	return nil
}

// onLoopback reports whether addr is a loopback IP address with a port.
func onLoopback(addr string) bool {
	a, err := netip.ParseAddrPort(addr)
	return err == nil && a.Addr().IsLoopback()
}

// dataDirectory returns the data directory and the function that removes it at the end if it is temporary.
func dataDirectory(dir string) (string, func() error, error) {
	if dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return "", nil, fmt.Errorf("naming the data directory: %w", err)
		}
		return dir, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "tokenbroker-dev-*")
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

// unlessStopped returns err, the error of a start, or nil if ctx has ended, because the start was interrupted.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
