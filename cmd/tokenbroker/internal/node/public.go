package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/oauth"
	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/upstream"
	"tokenbroker/validator"
)

// serve serves the public and the operators' surface.
func (n *Node) serve(context.Context) error {
	own := n.tokens
	own.audiences = n.cfg.Audience
	var err error
	public := n.cfg.Public
	public.Issuer, public.Browser.Sessions = n.issuer, n.metrics.Sessions(n.endUsers)
	if len(n.providers) > 0 {
		logins := n.metrics.Logins(n.endUsers)
		public.Browser.Logins, public.Pages.Logins = logins, logins
	}
	public.Pages.Authorizations, public.Pages.Logouts, public.Pages.Sessions = n.oauthClients, n.oauthClients, public.Browser.Sessions
	public.Pages.Scopes = n.cfg.ScopeTexts
	public.OAuth = oauth.Config{
		Clients: n.oauthClients, Origins: n.oauthClients.Origins(),
		Verifier: own, AnyAudience: n.tokens, JWKS: document(n.keys.JWKS), MaxTokenLifetime: n.publishedLife, Algorithms: n.algorithms,
		Scopes: n.cfg.ScopesSupported, Claims: credential.ClaimNames(), AssertionAlgorithms: upstream.Algorithms(),
		Registrations: n.registrations(), DocumentClients: n.cfg.Documents.Enabled,
	}
	public.Feed = feed.Config{
		Clients: n.oauthClients, Catchup: catchup{n.ledger}, Stream: stream{n.publisher.Hub()}, Receipts: n.postedReceipts(),
		JWKS: document(n.keys.FeedJWKS),
	}
	if n.cluster != nil {
		public.Guard = n.cluster.guardPublic
	}
	public.Readiness, public.Logger, public.Observe = n.readiness, n.cfg.Logger, n.metrics.HTTP
	if n.api, err = api.New(public); err != nil {
		return err
	}
	if n.closedUntilServed() {
		if err := n.takePublic(); err != nil {
			return err
		}
	}
	n.gauges()
	n.public.Serve(n.api, n.cfg.Certificate, n.accepted)
	n.onStop(n.public.Shutdown)
	if n.publicIPv6 != nil {
		n.publicIPv6.Serve(n.api, n.cfg.Certificate, n.accepted)
		n.onStop(n.publicIPv6.Shutdown)
	}
	if err := n.serveAdmin(); err != nil {
		return err
	}
	n.onStop(n.stopListening)
	// This is the first step of a stop: streams, and requests that wait for receipts, would delay it.
	n.onStop(func(context.Context) error {
		n.publisher.Hub().Close()
		n.watching.Close()
		n.receipts.Close()
		return nil
	})
	return nil
}

// readiness returns the checks of GET /readyz. The broker is ready when store and keyring are, and degraded without NATS.
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
	writable := n.writable()
	connected := n.bus.Connected()
	checks := []httpapi.Check{
		{Name: "store", OK: writable == nil},
		n.keyringCheck(),
		{Name: "nats", OK: true, Degraded: !connected},
		n.copies.check(),
	}
	if n.cluster != nil {
		checks = append(checks, n.cluster.check(), n.cluster.engineCheck())
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

// providersReady asks the providers at the same time. No goroutine is left when it returns.
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

// document returns one of the keyring's JWK sets as api serves it.
func document(current func() keyring.Document) httpapi.Document {
	return func() ([]byte, string, time.Duration) {
		doc := current()
		return doc.Body, doc.ETag, doc.MaxAge
	}
}

// longestVerifiedLife returns a life that no token exceeds, now or later.
func (n *Node) longestVerifiedLife() time.Duration {
	if n.cluster != nil { // another broker may be configured with a longer life later
		return session.MaxAccessLife
	}
	return n.publishedLife()
}

// verifier checks access tokens by the validator in this process, which accepts those of any audience.
type verifier struct {
	validator *validator.Validator
	cluster   *cluster
	// audiences are the accepted audiences. If nil, all are.
	audiences []string
}

var _ oauth.Verifier = verifier{}

// Verify implements [oauth.Verifier].
func (v verifier) Verify(ctx context.Context, token string) (json.RawMessage, error) {
	if v.cluster != nil {
		if err := v.cluster.current(ctx); err != nil {
			return nil, err
		}
	}
	claims, err := v.validator.Validate(ctx, token)
	if errors.Is(err, validator.ErrInvalid) && v.cluster != nil && v.cluster.keys.Outdated() != nil {
		return nil, cannotAnswer("the token may have a key that this broker has not read")
	}
	if err == nil && v.audiences != nil && !slices.ContainsFunc(claims.Audience, func(a string) bool { return slices.Contains(v.audiences, a) }) {
		return nil, &broker.Error{Code: httpapi.CodeTokenInvalid, Message: "The token is for another audience."}
	}
	switch {
	case err == nil:
		return claims.Raw(), nil
	case errors.Is(err, validator.ErrExpired):
		return nil, &broker.Error{Code: httpapi.CodeTokenExpired, Message: "The token has expired.", Err: err}
	case errors.Is(err, validator.ErrRevoked):
		return nil, &broker.Error{Code: httpapi.CodeTokenRevoked, Message: "The token was revoked.", Err: err}
	case errors.Is(err, validator.ErrInvalid):
		return nil, &broker.Error{Code: httpapi.CodeTokenInvalid, Message: "The token is not a good one of this issuer.", Err: err}
	default:
		return nil, &broker.Error{Code: broker.CodeUnavailable, Message: "The token cannot be judged for now.", Err: err}
	}
}

// catchup answers GET /revocations from the ledger.
type catchup struct{ ledger *ledger.Ledger }

var _ feed.Catchup = catchup{}

// Answer implements [feed.Catchup].
func (c catchup) Answer(ctx context.Context, r feed.Reader, as revocation.Form) (feed.CatchupAnswer, error) {
	answer, err := c.ledger.EncodedAnswerFor(ctx, r.Client, r.After, r.Speaks, as)
	if refused := feedRefusal(err); refused != nil {
		return nil, refused
	}
	switch {
	case errors.Is(err, ledger.ErrTooManyAnswers):
		return nil, &broker.Error{Code: broker.CodeBusy, Message: "This client reads too many catch-up answers at once.", RetryAfter: time.Second, Err: err}
	case err != nil:
		return nil, err
	}
	return answer, nil
}

// stream answers GET /revocations/stream with what the publisher signs.
type stream struct{ hub *ledger.Hub }

var _ feed.Stream = stream{}

// listenLater is the Retry-After of a listener that was refused.
const listenLater = 5 * time.Second

// Listen implements [feed.Stream].
func (s stream) Listen(ctx context.Context, r feed.Reader) (feed.Listener, error) {
	l, err := s.hub.Listen(ctx, r.Client, r.After, r.Speaks)
	if refused := feedRefusal(err); refused != nil {
		return nil, refused
	}
	switch {
	case errors.Is(err, ledger.ErrTooManyListeners):
		return nil, &broker.Error{Code: broker.CodeBusy, Message: "Too many services are listening, of this client or in all.", RetryAfter: listenLater, Err: err}
	case errors.Is(err, ledger.ErrHubClosed):
		return nil, &broker.Error{Code: broker.CodeUnavailable, Message: "The broker is stopping.", RetryAfter: time.Second, Err: err}
	case err != nil:
		return nil, err
	}
	return listener{l}, nil
}

type listener struct{ *ledger.Listener }

// Next implements [feed.Listener].
func (l listener) Next(ctx context.Context) (feed.StreamEvent, error) {
	e, err := l.Listener.Next(ctx)
	return feed.StreamEvent(e), err
}

// feedRefusal returns the answer to errors that catch-up and stream have in common, nil for any other.
func feedRefusal(err error) error {
	switch {
	case errors.Is(err, ledger.ErrBadPosition):
		return &broker.Error{Code: httpapi.CodeInvalidPosition, Message: "the position is not a list of origin.seq", Err: err}
	case errors.Is(err, ledger.ErrOutdated):
		return &broker.Error{Code: httpapi.CodeProtocolOutdated, Message: "several brokers run; update the service's library to one that sends speaks=2", Err: err}
	case errors.Is(err, ledger.ErrNoView), errors.Is(err, ledger.ErrSilent):
		return &broker.Error{Code: broker.CodeUnavailable, Message: "this broker cannot answer for all brokers now; ask another one", RetryAfter: time.Second, Err: err}
	}
	return nil
}
