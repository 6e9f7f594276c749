// Package node wires one broker process: it is the only place that sees the store, the
// ledger, the keyring, the broker, the network and the HTTP surface together.
package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
)

// Config of a node. Addresses are host:port; port 0 takes a free one.
type Config struct {
	// DataDir holds the store and the key encryption key; made with mode 0700.
	DataDir string
	// Listen, AdminListen and NATSListen are the public, the operators' and the NATS address.
	Listen, AdminListen, NATSListen string
	// NATSURL is a NATS server elsewhere; empty: one is embedded at NATSListen.
	NATSURL string
	// PublicURL is the issuer; empty: http:// and the public listener's address.
	PublicURL string
	Origins   []string
	Audience  []string
	// BrowserClient owns the browser sessions, which are granted BrowserScope.
	BrowserClient string
	BrowserScope  string
	Clients       []broker.Client
	Policy        session.Policy
	// Providers makes the upstream providers by name, given the broker's issuer; may be nil.
	Providers func(issuer string) (map[string]Provider, error)
	// DemoSample is the sample service's URL for the demo page; empty: no page.
	DemoSample string
	// InsecureCookies is for plain http on loopback. It MUST NOT be set elsewhere.
	InsecureCookies bool
	Logger          *slog.Logger
	// Fatal is called when the process has to end at once; it must not return.
	Fatal func(error)
}

// Provider is an upstream provider, and whether it can be reached for readyz.
type Provider interface {
	broker.IdentityProvider
	Ready(ctx context.Context) bool
}

// DefaultPolicy is the lifetimes that docs/design.md §5 and §6 give as defaults.
var DefaultPolicy = session.Policy{
	AccessLife: 5 * time.Minute,
	Idle:       14 * 24 * time.Hour,
	Absolute:   90 * 24 * time.Hour,
	Grace:      10 * time.Second,
}

func (c *Config) validate() error {
	if c.DataDir == "" || c.Listen == "" || c.AdminListen == "" || c.NATSListen == "" && c.NATSURL == "" {
		return errors.New("node: DataDir, both addresses and one of NATSListen and NATSURL are required")
	}
	if len(c.Audience) == 0 || c.BrowserClient == "" || c.Fatal == nil {
		return errors.New("node: Audience, BrowserClient and Fatal are required")
	}
	if c.Policy == (session.Policy{}) {
		c.Policy = DefaultPolicy
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}
