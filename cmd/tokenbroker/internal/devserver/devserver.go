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

	"tokenbroker/api"
	"tokenbroker/api/browser"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/origin"
	"tokenbroker/broker"
	"tokenbroker/broker/customclaims"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/docs"
	"tokenbroker/keyring"
)

// The accounts of the development server.
const (
	User          = "admin"
	Password      = "admin"
	BrowserClient = "demo-spa"
	ServiceClient = "demo-service"
	ServiceSecret = "demo-service-secret"
	Audience      = "demo-api"
	Scope         = "hello:read"
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
	Version  string
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
	logger := logging.New(opts.Stderr, logging.Config{Level: level, Format: logging.FormatText})
	warnOfIgnored(logger, os.Environ())
	dataDir, removeData, err := dataDirectory(opts.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeData()) }()

	samples, err := listenSamples(sampleAddrs)
	if err != nil {
		return err
	}
	defer samples.close()
	emulator, err := listenEmulator(opts.EmulatorListen, "--idp-listen", Pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emulator.stop()) }()
	claims, err := customclaims.New(customclaims.DefaultConfig())
	if err != nil {
		return fmt.Errorf("making the claims: %w", err)
	}
	n, err := node.Start(ctx, node.Config{
		DataDir: dataDir, Listen: opts.Listen, LoopbackIPv6: opts.Listen == config.DefaultListen, Seed: addUser, Version: opts.Version,
		Admin: node.Admin{Listen: opts.AdminListen}, NATS: node.NATS{Listen: opts.NATSListen, InsecureAnonymous: true},
		Schedule: keyring.Schedule{RotateEvery: keyring.DefaultRotateEvery}, Audience: []string{Audience}, BrowserClient: BrowserClient, BrowserScope: Scope,
		Clients: []broker.Client{
			{ID: BrowserClient, Scopes: []string{Scope}},
			{ID: ServiceClient, Secret: ServiceSecret, Scopes: []string{Scope}},
		},
		CustomClaims: claims,
		Providers: func(_ string, via node.Transport) (map[string]node.Provider, error) {
			return emulator.provide(opts.Origins, via)
		},
		Public: api.Config{
			SiteConfig: httpapi.SiteConfig{Origins: opts.Origins, InsecureDevelopment: true},
			Browser: browser.Config{
				Cookie: httpapi.Cookie{Insecure: true},
				Demo:   browser.Demo{Services: samples.urls(), Thief: samples.thiefURL(), Docs: docs.Files},
			},
		},
		Logger: logger, Fatal: opts.Fatal(logger),
	})
	if err != nil {
		return unlessStopped(ctx, fmt.Errorf("starting: %w", err))
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	defer func() { err = errors.Join(err, samples.stop()) }()
	if err := samples.start(ctx, n, logger); err != nil {
		return unlessStopped(ctx, err)
	}

	forget, err := adminclient.WritePointer(adminclient.Pointer{
		PID: os.Getpid(), Socket: n.AdminSocket(), AdminURL: n.AdminURL(), TokenFile: filepath.Join(dataDir, node.AdminTokenFile),
	})
	if err != nil {
		logger.Warn("operators' commands cannot find this server without a flag: name it with --data-dir", "error", err)
	} else {
		defer func() { err = errors.Join(err, forget()) }()
	}
	if err := printReady(opts, n, n.Degraded(ctx), samples.urls(), emulator.issuer(), dataDir); err != nil {
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
