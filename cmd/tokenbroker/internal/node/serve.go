package node

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/oauth"
	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/validator"
)

// serve opens the public and the operators' surface: from here on everything answers.
func (n *Node) serve(context.Context) error {
	own, err := validator.NewInProcess(validator.InProcessConfig{
		Issuer: n.issuer, Audiences: n.cfg.Audience, Keys: n.keys.Verifier,
		Denylist: n.deny, Now: n.ledger.Now, MaxLifetime: n.publishedLife(), // nothing longer lives, then and later
	})
	if err != nil {
		return err
	}
	public := n.cfg.Public
	public.Issuer, public.Browser.Sessions = n.issuer, n.metrics.Sessions(n.endUsers)
	if len(n.providers) > 0 {
		public.Browser.Logins = n.metrics.Logins(n.endUsers)
	}
	public.OAuth = oauth.Config{
		Clients: n.operators, Verifier: verifier{own}, JWKS: document(n.keys.JWKS), MaxTokenLifetime: n.publishedLife, Algorithms: n.algorithms,
	}
	public.Feed = feed.Config{
		Clients: n.operators, Catchup: catchup{n.ledger}, Stream: stream{n.publisher.Hub()}, Receipts: postedReceipts{n.receipts, n.cfg.Logger},
		JWKS: document(n.keys.FeedJWKS),
	}
	public.Readiness, public.Logger, public.Observe = n.readiness, n.cfg.Logger, n.metrics.HTTP
	if n.api, err = api.New(public); err != nil {
		return err
	}
	n.gauges()
	n.public.Serve(n.api, n.cfg.Certificate, nil)
	n.onStop(n.public.Shutdown)
	if n.publicIPv6 != nil {
		n.publicIPv6.Serve(n.api, n.cfg.Certificate, nil)
		n.onStop(n.publicIPv6.Shutdown)
	}
	if err := n.serveAdmin(); err != nil {
		return err
	}
	n.onStop(n.stopListening)
	// First of all: streams, and who waits for receipts, would keep the stop waiting.
	n.onStop(func(context.Context) error {
		n.publisher.Hub().Close()
		n.watching.Close()
		n.receipts.Close()
		return nil
	})
	return nil
}

// stopListening drains the listeners side by side: one's slow clients take none of the time
// that another's, and the broker behind them, have within drainTimeout.
func (n *Node) stopListening(ctx context.Context) error {
	servers := []*httpserver.Server{n.public, n.publicIPv6, n.socket, n.admin}
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		if s != nil {
			all.Go(func() { errs[i] = s.Shutdown(ctx) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// readiness is ready when store and keyring are; without NATS the broker is degraded.
func (n *Node) readiness(ctx context.Context) []httpapi.Check { return n.checks(ctx, providersWait) }

// Degraded returns a line for each part that does not work or is degraded. It waits a few seconds for
// providers that do not answer.
func (n *Node) Degraded(ctx context.Context) []string {
	var lines []string
	for _, c := range n.checks(ctx, degradedWait) {
		if !c.OK || c.Degraded {
			lines = append(lines, c.Name+": "+cmp.Or(c.Detail, "does not work"))
		}
	}
	return lines
}

// checks waits up to wait for all providers together.
func (n *Node) checks(ctx context.Context, wait time.Duration) []httpapi.Check {
	writable := n.store.Writable()
	connected := n.bus.Connected()
	checks := []httpapi.Check{
		{Name: "store", OK: writable == nil},
		n.keyringCheck(),
		{Name: "nats", OK: true, Degraded: !connected},
		n.copies.check(),
	}
	checks = append(checks, n.providersReady(ctx, wait)...)
	if writable != nil {
		checks[0].Detail = "writes are refused"
	}
	if !connected {
		checks[2].Detail = "revocations are recorded and reach services by catch-up"
	}
	return checks
}

// How long the readiness waits for all providers together, and how long [Node.Degraded] does.
const (
	providersWait = 300 * time.Millisecond
	degradedWait  = 2 * time.Second
)

// providersReady asks the providers side by side; no goroutine is left when it returns.
func (n *Node) providersReady(ctx context.Context, wait time.Duration) []httpapi.Check {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	names := n.endUsers.Providers()
	checks := make([]httpapi.Check, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			checks[i] = httpapi.Check{Name: "provider " + name, OK: true, Degraded: !n.providers[name].Ready(ctx)}
			if checks[i].Degraded {
				checks[i].Detail = "does not answer, or none of its keys can be used; password sign-in goes on"
			}
		})
	}
	all.Wait()
	return checks
}
