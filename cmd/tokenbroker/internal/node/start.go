package node

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/enduser"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/password"
	"tokenbroker/broker/throttle"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/store/origins"
)

const (
	// passwordQueue is how many sign-ins may wait for the hash of a password.
	passwordQueue = 256
	// passwordWait is how long one of them waits before it is answered busy. A change of
	// a password waits twice, and both waits have to fit into the 5 s that httpserver.Server.Shutdown has.
	passwordWait = 2 * time.Second
	// actorsTimeout is how long the actors may take to finish what they accepted, however long the
	// listeners took. The store is closed after them.
	actorsTimeout = 2 * time.Second
	// cutOffTimeout is how long the actors may take to end after their commits were cancelled.
	cutOffTimeout = time.Second
	// maxStreams is how many services may listen at /revocations/stream. Half of the connections remain
	// for other clients.
	maxStreams = 5000
	// flushTimeout is how long a stop waits for the last batches to leave.
	flushTimeout = time.Second
)

// openStore opens the store and the ledger on it, with the broker's own denylist.
func (n *Node) openStore(ctx context.Context) error {
	open := n.openBadger
	if n.cfg.Engine != nil {
		open = n.join
	}
	if err := open(ctx); err != nil {
		return err
	}
	n.deny = revocation.NewDenylist()
	var run *origins.Run
	if n.cluster != nil {
		run = n.cluster.run
	}
	var err error
	n.ledger, err = ledger.Open(ctx, ledger.Config{
		Store: n.store, Run: run, Denylist: n.deny, Logger: n.cfg.Logger,
		Wall: n.cfg.Wall, Mono: n.mono,
		Kids: func() []string {
			if n.keys == nil {
				return nil
			}
			return n.keys.Compromised()
		},
		SignOutEverybody: func(ctx context.Context) error {
			return n.operators.SignOutEverybody(ctx, revocation.ReasonRevoked)
		},
	})
	if err != nil {
		return err
	}
	if n.cluster != nil {
		n.cluster.barrier, n.cluster.proved, n.cluster.lags = n.ledger.Barrier, n.ledger.Proved, n.ledger.Lags
	}
	n.onStop(func(context.Context) error {
		n.ledger.Close()
		return nil
	})
	return nil
}

// startBroadcast connects to NATS and starts the publisher. It connects to an embedded server within the process,
// and to a server that is down in the background.
func (n *Node) startBroadcast(ctx context.Context) error {
	var err error
	cfg := natsfeed.BusConfig{
		URL: n.cfg.NATS.URL, User: n.cfg.NATS.User, Password: n.cfg.NATS.Password,
		Credentials: n.cfg.NATS.Credentials, TLS: n.cfg.NATS.TLS,
	}
	if n.nats != nil {
		cfg = natsfeed.BusConfig{InProcess: n.nats}
		cfg.User, cfg.Password = n.natsOwn.user, n.natsOwn.password
	}
	cfg.Logger = n.cfg.Logger
	n.bus, err = natsfeed.Dial(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connecting to NATS: %w", err)
	}
	n.onStop(func(context.Context) error { n.bus.Close(); return nil })
	n.startReceipts()
	if err := n.subscribeToReceipts(); err != nil {
		return err
	}
	if err := n.watchCopies(); err != nil {
		return err
	}
	n.publisher, err = ledger.NewPublisher(ledger.PublisherConfig{
		Ledger: n.ledger, Bus: n.bus, Sign: n.keys.SignFeed,
		JWKSETag: func() string { return n.keys.JWKS().ETag }, WantAck: n.receipts.Wanted, MaxListeners: min(maxStreams, n.files.Public/2), Logger: n.cfg.Logger,
	})
	if err != nil {
		return err
	}
	n.bus.OnReconnect(n.publisher.Poke)
	n.background(n.publisher.Run)
	n.startWatching()
	n.startKeys()
	n.onStop(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		n.publisher.Flushed(ctx, n.ledger.Origin(), n.ledger.Head()) // services learn of the rest by a catch-up
		return nil
	})
	return nil
}

// background calls run in a goroutine, which the stop of the node ends and waits for. An error of run ends the
// process, because the state on disk is then unknown.
func (n *Node) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			n.cfg.Fatal(err)
		}
	}()
	n.onStop(func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

func (n *Node) startBroker(ctx context.Context) error {
	if n.cluster != nil {
		n.cluster.pauses.begin()
	}
	hasher := password.New(n.cfg.Passwords, runtime.GOMAXPROCS(0), passwordQueue, passwordWait)
	providers := map[string]broker.IdentityProvider{}
	if n.cfg.Providers != nil {
		made, err := n.cfg.Providers(n.issuer, Transport{Instrument: n.instrument, Wall: n.cfg.Wall, Logger: n.cfg.Logger})
		if err != nil {
			return fmt.Errorf("making the sign-in providers: %w", err)
		}
		n.providers = made
		for name, p := range made {
			providers[name] = p
			if c, ok := p.(interface{ Close() }); ok {
				n.onStop(func(context.Context) error { c.Close(); return nil })
			}
		}
	}
	records := n.metrics.Store(n.store)
	n.path = commit.Start(commit.Config{
		Store: records, Ledger: n.ledger, Broadcast: n.publisher, Receipts: awaitedReceipts{n.receipts, n.mono},
		Denylist: n.deny, Clock: n.ledger, Policy: n.cfg.Policy, AccessLife: n.accessLife, StoreVersion: n.storeVersion, Mailbox: n.cfg.Mailbox,
		Observer: n.metrics, ActorObserver: n.metrics, Logger: n.cfg.Logger, Fatal: n.cfg.Fatal,
	})
	var share func() int
	if n.cluster != nil {
		share = n.cluster.run.Live
	}
	n.endUsers = enduser.New(enduser.Config{
		Path: n.path, Store: records, Signer: brokerKeys{n.keys}, Secrets: brokerKeys{n.keys}, Clock: n.ledger,
		Passwords: hasher, Throttle: throttle.New(throttle.Config{Share: share}),
		CustomClaims: n.cfg.CustomClaims, Providers: providers, LogoutReturn: cmp.Or(n.cfg.SignedOutURL, n.issuer+"/"),
		Issuer: n.issuer, Audience: n.cfg.Audience,
		BrowserClient: n.cfg.BrowserClient, BrowserScope: n.cfg.BrowserScope, Policy: n.cfg.Policy,
		Signers: int64(2 * runtime.GOMAXPROCS(0)),
		Logger:  n.cfg.Logger, Audit: n.cfg.Audit,
	})
	n.operators = operator.New(operator.Config{
		Path: n.path, Store: records, Ledger: n.ledger, Denylist: n.deny, Keys: keyRevoker{n.keys}, Clock: n.ledger,
		Passwords: hasher, Policy: n.cfg.Policy, Shared: n.cfg.Engine != nil, Logger: n.cfg.Logger, Audit: n.cfg.Audit,
	})
	if err := n.startClients(oauthclient.Config{
		Path: n.path, Store: records, Signer: brokerKeys{n.keys}, Secrets: brokerKeys{n.keys}, Clock: n.ledger,
		CustomClaims: n.cfg.CustomClaims, Issuer: n.issuer, Audience: n.cfg.Audience, Resources: n.cfg.Resources, Policy: n.cfg.Policy,
		Signers: int64(2 * runtime.GOMAXPROCS(0)), Logger: n.cfg.Logger, Audit: n.cfg.Audit,
	}); err != nil {
		return err
	}
	n.onStop(n.stopPath)
	if n.cluster != nil {
		n.background(n.cluster.pulse)
		n.background(n.cluster.keep)
		n.background(n.cluster.followKeys)
		if sweep := n.cluster.sweep; sweep != nil {
			n.background(func(ctx context.Context) error { sweep.Run(ctx); return nil })
		}
		if engine, ok := n.cfg.Engine.(memberEngine); ok {
			n.background(func(ctx context.Context) error { return n.cluster.watchMembers(ctx, engine) })
		}
		if engine, ok := n.cfg.Engine.(postgresEngine); ok {
			n.background(func(ctx context.Context) error { return n.cluster.watchPostgres(ctx, engine) })
		}
	}
	n.background(n.ledger.Run) // not earlier: it may have to sign out all users
	return n.operators.SetClients(ctx, n.cfg.Clients)
}

// seed calls Config.Seed.
func (n *Node) seed(ctx context.Context) error {
	if n.cfg.Seed == nil {
		return nil
	}
	return n.cfg.Seed(ctx, n)
}

// stopPath stops the actors. If a store that brokers share does not answer, they end without the results of their last commits:
// no client was told that these are done, and no later run of the broker has to settle them.
func (n *Node) stopPath(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	finish, cancel := context.WithTimeout(ctx, actorsTimeout)
	defer cancel()
	err := n.path.Close(finish)
	if err == nil || n.cluster == nil {
		return err
	}
	end, cancel := context.WithTimeout(ctx, cutOffTimeout)
	defer cancel()
	if err := n.path.Close(end); err != nil {
		return err
	}
	n.cfg.Logger.Warn("the shared store did not answer before the stop: the result of the last commits is not known, and no client was told that they are done", "error", err)
	return nil
}
