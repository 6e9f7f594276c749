package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
)

func serveCommand(stderr io.Writer) *cobra.Command {
	var (
		flags configFlags
		force bool
	)
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the broker as a configuration file says",
		Long: `Run the broker as a configuration file says, until SIGTERM or Ctrl-C, which drain and stop.
Values come from defaults, the file, TOKENBROKER_… variables and flags, the later ones winning.
SIGHUP reloads the log level, the origins, the clients and the TLS files (those of admin and nats also); an invalid file changes
nothing.

'tokenbroker config init' writes a first file, 'config check' reports what is wrong with a file.`,
		Example: "  tokenbroker config init tokenbroker.yaml\n  tokenbroker serve --config tokenbroker.yaml",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runServe(cmd.Context(), flags, force, stderr)
		},
	}
	flags.register(cmd.Flags())
	cmd.Flags().BoolVar(&force, "force", false, "join other brokers although services do not understand several brokers; these services become stale")
	return cmd
}

// server is a running serve, with what a reload changes.
type server struct {
	flags  configFlags
	config *config.Config
	built  *setup.Built
	node   *node.Node
	level  *slog.LevelVar
	logger *slog.Logger
}

// wall is the wall clock of the machine.
var wall = time.Now

// runServe serves until ctx ends or a listener fails.
func runServe(ctx context.Context, flags configFlags, force bool, stderr io.Writer) (err error) {
	loaded, built, err := flags.check(ctx)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	s := &server{flags: flags, config: loaded.Config, built: built, level: new(slog.LevelVar)}
	if err := s.level.UnmarshalText([]byte(loaded.Config.Log.Level)); err != nil {
		return fmt.Errorf("log.level: %w", err)
	}
	s.logger = logging.New(stderr, logging.Config{Level: s.level, Format: loaded.Config.Log.Format})
	for _, w := range loaded.Warnings {
		s.logger.Warn("configuration: "+w.Key+" "+w.Message, "source", w.Source, "hint", w.Hint)
	}
	built.Node.Audit = slog.New(slog.DiscardHandler)
	if loaded.Config.Log.Audit {
		built.Node.Audit = logging.Audit(s.logger)
	}
	built.Node.Force, built.Node.Wall = force, wall
	built.Node.Logger, built.Node.Version, built.Node.Fatal = s.logger, version(), endAtOnce(s.logger)

	engine, err := built.OpenEngine(ctx, s.logger)
	if err != nil {
		s.logger.Info("not started", "error", err)
		return unlessStopped(ctx, fmt.Errorf("starting: %w", err))
	}
	if engine != nil {
		built.Node.Engine = engine
		defer func() { err = errors.Join(err, engine.Close()) }()
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	if s.node, err = node.Start(ctx, built.Node); err != nil {
		s.logger.Info("not started", "error", err)
		return unlessStopped(ctx, fmt.Errorf("starting: %w", err))
	}
	defer func() { err = errors.Join(err, s.node.Close()) }()
	s.logReady(ctx)
	for {
		select {
		case <-hangups:
			s.reload(ctx)
		case <-ctx.Done():
			s.logger.Info("stopping: draining what was accepted")
			return nil
		case err := <-s.node.Failed():
			return fmt.Errorf("a listener ended: %w", err)
		}
	}
}

// logReady logs the addresses, and what is degraded.
func (s *server) logReady(ctx context.Context) {
	attrs := []any{
		"issuer", s.node.Issuer(), "listen", s.node.Addr(), "admin", s.node.AdminURL(), "admin_socket", s.node.AdminSocket(),
		"nats", s.node.NATSURL(), "data_dir", s.config.DataDir, "pid", os.Getpid(), "version", version(),
	}
	if degraded := s.node.Degraded(ctx); len(degraded) > 0 {
		s.logger.Warn("tokenbroker is ready, but degraded", append(attrs, "degraded", degraded)...)
		return
	}
	s.logger.Info("tokenbroker is ready", attrs...)
}

// unlessStopped returns err, the error of a start, or nil if ctx has ended, because the start was interrupted.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// endAtOnce returns the function that a node calls when the outcome of a commit is unknown.
func endAtOnce(logger *slog.Logger) func(error) {
	return func(err error) {
		logger.Error("the process ends: the next start reads what is on disk", "error", err)
		os.Exit(exitUncertain)
	}
}

// reload reads the configuration again and applies the keys that can change while serving. An invalid
// configuration changes nothing.
func (s *server) reload(ctx context.Context) {
	loaded, built, err := s.flags.build(ctx)
	if err == nil && loaded.Config.PublicURL != s.config.PublicURL { // origins and certificate depend on it
		err = fmt.Errorf("public_url has changed to %s: restart to apply it", loaded.Config.PublicURL)
	}
	if err == nil {
		err = s.apply(ctx, loaded.Config, built)
	}
	if err != nil {
		s.logger.Error("reload refused, the configuration in force stays", "error", err)
		return
	}
	next := loaded.Config
	changed, restart := config.Changes(s.config, next)
	s.config.Origins, s.config.Clients, s.config.Log.Level = next.Origins, next.Clients, next.Log.Level
	if s.built.Certificate != nil && built.Certificate != nil {
		s.config.TLS = next.TLS
	}
	if s.built.AdminCertificate != nil && built.AdminCertificate != nil {
		s.config.Admin.TLSCertFile, s.config.Admin.TLSKeyFile = next.Admin.TLSCertFile, next.Admin.TLSKeyFile
	}
	if s.built.NATSCertificate != nil && built.NATSCertificate != nil {
		s.config.NATS.TLSCertFile, s.config.NATS.TLSKeyFile = next.NATS.TLSCertFile, next.NATS.TLSKeyFile
	}
	s.logger.Info("configuration reloaded", "changed", changed)
	if len(restart) > 0 {
		s.logger.Warn("some changes need a restart to take effect", "keys", restart)
	}
}

// apply changes the log level, the origins, the clients and the certificates, all or nothing: the steps that can fail come
// first, and the build has read the certificates. Only of the clients some may be changed if the store fails.
func (s *server) apply(ctx context.Context, next *config.Config, built *setup.Built) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(next.Log.Level)); err != nil {
		return fmt.Errorf("log.level: %w", err)
	}
	if err := s.node.SetOrigins(next.Origins); err != nil {
		return err
	}
	if err := s.node.SetClients(ctx, built.Node.Clients); err != nil {
		return errors.Join(fmt.Errorf("some clients may have changed, reload again: %w", err), s.node.SetOrigins(s.config.Origins))
	}
	s.built.Certificate.Take(built.Certificate)
	s.built.AdminCertificate.Take(built.AdminCertificate)
	s.built.NATSCertificate.Take(built.NATSCertificate)
	s.level.Set(level)
	return nil
}
