package devserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/etcdstore/member"
)

const (
	// engineTimeout is how long a broker waits at its start for the etcd cluster.
	engineTimeout = 20 * time.Second
	// memberTimeout is how long a member waits at its start for a majority.
	memberTimeout = 30 * time.Second
	// readyTimeout is how long a broker waits, after it listens, until nothing is degraded.
	readyTimeout = 10 * time.Second
	readyEvery   = 100 * time.Millisecond
)

// ChildOptions are what [RunBroker] and [RunMember] get from their process.
type ChildOptions struct {
	Version string
	// Stdin ends when the process that started this one has ended. This process then ends at once.
	Stdin io.Reader
	// Stdout receives one report when the process is ready, Stderr the log.
	Stdout, Stderr io.Writer
	// Fatal is [Options.Fatal].
	Fatal func(*slog.Logger) func(error)
}

// report is what a broker or a member prints, as JSON, when it is ready.
type report struct {
	Listen   string   `json:"listen,omitempty"`
	AdminURL string   `json:"admin_url,omitempty"`
	Socket   string   `json:"socket,omitempty"`
	Degraded []string `json:"degraded,omitempty"`
}

// endWithParent ends this process when stdin ends. What it has acknowledged is in the etcd cluster.
func (o ChildOptions) endWithParent() {
	go func() {
		_, _ = io.Copy(io.Discard, o.Stdin)
		os.Exit(1)
	}()
}

func (o ChildOptions) report(r report) error {
	if err := json.NewEncoder(o.Stdout).Encode(r); err != nil {
		return fmt.Errorf("reporting to the process that started this one: %w", err)
	}
	return nil
}

// RunBroker runs the broker whose settings are in a file until ctx ends, and drains it.
func RunBroker(ctx context.Context, file string, opts ChildOptions) (err error) {
	opts.endWithParent()
	var s brokerSettings
	if err := readJSON(file, &s); err != nil {
		return err
	}
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return err
	}
	logger := logging.New(opts.Stderr, logging.Config{Level: level, Format: logging.FormatText}).With("broker", s.Name)
	cfg, err := s.config(logger)
	if err != nil {
		return err
	}
	if cfg.KEK, err = keyring.LoadKEKFile(s.KEKFile); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	engine, err := etcdstore.Open(waiting, etcdstore.Config{Endpoints: s.Etcd, Logger: logger})
	if err != nil {
		return unlessStopped(ctx, fmt.Errorf("starting %s: %w", s.Name, err))
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	cfg.Engine, cfg.Name, cfg.PublicURL, cfg.NATS = engine, s.Name, s.Issuer, node.NATS{URL: s.NATS}
	cfg.Public.TrustedProxies = []string{"127.0.0.1", "::1"}
	cfg.Version, cfg.Fatal = opts.Version, opts.Fatal(logger)
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return unlessStopped(ctx, fmt.Errorf("starting %s: %w", s.Name, err))
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := opts.report(report{Listen: n.Addr(), AdminURL: n.AdminURL(), Socket: n.AdminSocket(), Degraded: degradedAtLast(ctx, n)}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.Failed():
		return fmt.Errorf("a listener of %s ended: %w", s.Name, err)
	}
}

// degradedAtLast waits until nothing of n is degraded: at its start the broker compares its clock with those of others. It returns
// what still is after readyTimeout.
func degradedAtLast(ctx context.Context, n *node.Node) []string {
	limit := time.After(readyTimeout)
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		degraded := n.Degraded(ctx)
		if len(degraded) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return degraded
		case <-limit:
			return degraded
		case <-tick.C:
		}
	}
}

// RunMember runs the member of the etcd cluster whose settings are in a file until ctx ends.
func RunMember(ctx context.Context, file string, opts ChildOptions) error {
	opts.endWithParent()
	var cfg member.Config
	if err := readJSON(file, &cfg); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	m, err := member.Start(starting, cfg)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	defer m.Kill() // the others end as well, so it has no leadership to hand over
	if err := opts.report(report{}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-m.Failed():
		return fmt.Errorf("the etcd member %s ended: %w", cfg.Name, err)
	}
}
