// Package brokertest wires the commit path and the use cases for tests, on parts that a test chooses
// or on fakes: a broker without a key, a disk or a network.
package brokertest

import (
	"context"
	"log/slog"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/actor"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/enduser"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// Config is the fields of [commit.Config], [enduser.Config] and [operator.Config].
type Config struct {
	Store     store.Store
	Signer    broker.Signer
	Secrets   broker.Secrets
	Ledger    broker.Ledger
	Broadcast broker.Broadcast
	Receipts  broker.Receipts
	Denylist  broker.Denylist
	Keys      broker.Keys
	Clock     broker.Clock
	Passwords broker.Passwords
	Throttle  broker.Throttle

	Providers                   map[string]broker.IdentityProvider
	CustomClaims                credential.CustomClaims
	LogoutReturn                string
	Issuer                      string
	Audience                    []string
	BrowserClient, BrowserScope string
	Policy                      session.Policy
	AccessLife                  func() time.Duration
	StoreVersion                func() int
	Shards                      int

	Observer      broker.Observer
	ActorObserver actor.Observer
	Logger        *slog.Logger
	Fatal         func(error)
}

// The aliases let [Broker] embed two types of one name.
type (
	// EndUsers is the use cases of people.
	EndUsers = enduser.Service
	// Operators is the use cases of operators.
	Operators = operator.Service
)

// Broker is all use cases on one commit path.
type Broker struct {
	*EndUsers
	*Operators
	Path *commit.Path
}

// Wire starts a commit path and creates the use cases on it. The caller must call Close.
func Wire(cfg Config) *Broker {
	path := commit.Start(commit.Config{
		Store: cfg.Store, Ledger: cfg.Ledger, Broadcast: cfg.Broadcast, Receipts: cfg.Receipts, Denylist: cfg.Denylist,
		Clock: cfg.Clock, Policy: cfg.Policy, AccessLife: cfg.AccessLife, StoreVersion: cfg.StoreVersion, Shards: cfg.Shards,
		Observer: cfg.Observer, ActorObserver: cfg.ActorObserver, Logger: cfg.Logger, Fatal: cfg.Fatal,
	})
	return &Broker{
		Path: path,
		EndUsers: enduser.New(enduser.Config{
			Path: path, Store: cfg.Store, Signer: cfg.Signer, Secrets: cfg.Secrets, Clock: cfg.Clock, Passwords: cfg.Passwords,
			Throttle: cfg.Throttle, Providers: cfg.Providers, CustomClaims: cfg.CustomClaims, LogoutReturn: cfg.LogoutReturn,
			Issuer: cfg.Issuer, Audience: cfg.Audience, BrowserClient: cfg.BrowserClient, BrowserScope: cfg.BrowserScope,
			Policy: cfg.Policy, Logger: cfg.Logger,
		}),
		Operators: operator.New(operator.Config{
			Path: path, Store: cfg.Store, Ledger: cfg.Ledger, Denylist: cfg.Denylist, Keys: cfg.Keys, Clock: cfg.Clock,
			Passwords: cfg.Passwords, Policy: cfg.Policy, Logger: cfg.Logger,
		}),
	}
}

// Close answers the accepted messages and stops the broker.
func (b *Broker) Close(ctx context.Context) error { return b.Path.Close(ctx) }
