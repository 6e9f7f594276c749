package benchrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/validator"
)

const (
	ownAudience      = "bench"
	ownScope         = "bench:read"
	ownBrowserClient = "bench-spa"
	ownService       = "bench-service"
	// ownSecret and ownPassword are for a server on loopback that lives as long as the bench.
	ownSecret   = "bench-service-secret-of-a-server-on-loopback"
	ownPassword = "bench-password"
)

// cheapPasswords are an own server's argon2id parameters where sign-ins are not what is
// measured.
var cheapPasswords = password.Params{Memory: 64, Time: 1, Threads: 1}

// OwnConfig is how a bench's own server is started.
type OwnConfig struct {
	// TempDir is where its temporary directory is made; "": the system's.
	TempDir string
	Version string
	// Warn takes what the server logs of level warn and above; all else is formatted, as a
	// server's is, and thrown away.
	Warn io.Writer
	// RealPasswords makes sign-ins as dear as they are; else they are cheap, so that the
	// sessions of a bench are soon there.
	RealPasswords bool
	// Fatal is called when the process has to end at once; it must not return.
	Fatal func(error)
}

// StartOwn starts a broker on free ports of loopback, with a store in a temporary directory
// and an embedded NATS server, as dev does. stop drains it and removes the directory.
func StartOwn(ctx context.Context, cfg OwnConfig) (s *Server, stop func() error, err error) {
	dir, err := os.MkdirTemp(cfg.TempDir, "tokenbroker-bench-*")
	if err != nil {
		return nil, nil, fmt.Errorf("making a temporary data directory: %w (choose where with --temp-dir)", err)
	}
	params := cheapPasswords
	if cfg.RealPasswords {
		params = password.DefaultParams
	}
	n, err := node.Start(ctx, node.Config{
		DataDir: dir, Listen: "127.0.0.1:0", NATS: node.NATS{Listen: "127.0.0.1:0", InsecureAnonymous: true}, Admin: node.Admin{Listen: "127.0.0.1:0"}, Version: cfg.Version,
		Audience: []string{ownAudience}, BrowserClient: ownBrowserClient, BrowserScope: ownScope, InsecureCookies: true,
		Clients: []broker.Client{
			{ID: ownBrowserClient, Scopes: []string{ownScope}},
			{ID: ownService, Secret: ownSecret, Scopes: []string{ownScope}},
		},
		Policy: session.Policy{
			AccessLife: time.Hour, // no token of a bench expires in it
			Idle:       node.DefaultPolicy.Idle, Absolute: node.DefaultPolicy.Absolute, Grace: node.DefaultPolicy.Grace,
		},
		Passwords: params, Logger: Logger(cfg.Warn), Fatal: cfg.Fatal,
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("starting the bench's own server: %w", err), os.RemoveAll(dir))
	}
	s = &Server{own: n, dataDir: dir, params: params, http: newHTTP(), options: Options{
		URL: n.Issuer(), Service: validator.Client{ID: ownService, Secret: ownSecret}, NATS: NATS{URL: n.NATSURL()},
	}}
	return s, func() error {
		s.Close()
		return errors.Join(n.Close(), os.RemoveAll(dir))
	}, nil
}

// Logger formats every line, as a server in service does, throws it away, and writes those of
// level warn and above to w.
func Logger(w io.Writer) *slog.Logger {
	serious := new(slog.LevelVar)
	serious.Set(slog.LevelWarn)
	return slog.New(slog.NewMultiHandler(
		logging.New(io.Discard, logging.Config{Format: logging.FormatJSON}).Handler(),
		logging.New(w, logging.Config{Level: serious}).Handler(),
	))
}
