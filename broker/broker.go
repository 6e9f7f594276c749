// Package broker is the use cases of tokenbroker: sign-in, refresh, log-off, session,
// and the shell around their pure core.
//
// A request's road: a use case checks what it can without the store (the refresh token's
// mac, the CSRF token), hands a message to the session shard that owns the user, and the
// shard decides with package session and has the committer write. When the answer comes
// back it is on disk; signing and hashing happen in the caller's goroutine.
package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"time"

	"golang.org/x/sync/semaphore"

	"tokenbroker/broker/actor"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// broadcastWait is how long a log-off waits for its message to be sent before it answers
// that the broadcast is pending.
const broadcastWait = 250 * time.Millisecond

// gatherFor bounds how long a shard waits for those whom it has just answered together; with
// a disk that is not slow it is a third of a commit.
const gatherFor = 2 * time.Millisecond

// Config wires a [Broker]. Everything without a stated default is required.
type Config struct {
	Store     store.Store
	Signer    Signer
	Secrets   Secrets
	Ledger    Ledger
	Broadcast Broadcast
	// Receipts may be nil: there are no services that tell what they have applied.
	Receipts Receipts
	Denylist Denylist
	// Keys may be nil where nothing calls RevokeKey.
	Keys      Keys
	Clock     Clock
	Passwords Passwords
	Throttle  Throttle
	// Providers are the upstream identity providers by name; may be empty.
	Providers map[string]IdentityProvider
	// CustomClaims are the claims beside the standard ones, and the answers' user object; nil:
	// no such claims, and a user object of id, username, roles and groups.
	CustomClaims CustomClaims
	// LogoutReturn is where a provider's log-out page sends the browser.
	LogoutReturn string

	// Issuer and Audience are the iss and aud of access tokens.
	Issuer   string
	Audience []string
	// BrowserClient is the client that browser sessions belong to, and BrowserScope what
	// they are granted.
	BrowserClient string
	BrowserScope  string
	Policy        session.Policy
	// AccessLife is how long an access token lives that is signed now, where that may be less
	// than Policy's AccessLife: services learn of a longer life first. It must not block; nil: as Policy has it.
	AccessLife func() time.Duration

	// Shards is the number of session shards; default 1. More of them decide side by side, but
	// come to the committer one by one, so that fewer refreshes share an fsync (bench/README.md).
	Shards int
	// Mailbox bounds each actor's queue; default 1024. A full one is CodeBusy.
	Mailbox int
	// Signers bounds the signatures made at once; default 4.
	Signers int64

	Observer      Observer
	ActorObserver actor.Observer
	Logger        *slog.Logger
	// Audit receives the lines of security events. If nil, Logger does.
	Audit *slog.Logger
	// Fatal ends the process: the outcome of a commit is not known. It must not return
	// to a working broker.
	Fatal func(error)
}

// Broker is the use cases. Safe for concurrent use.
type Broker struct {
	cfg       Config
	committer *actor.Actor[commitRequest, commitResult]
	shards    []*actor.Actor[shardMessage, shardResult]
	seed      maphash.Seed
	signing   *semaphore.Weighted
	upstreams map[string]*semaphore.Weighted
	replays   *replays
	openings  *openings
	naming    *semaphore.Weighted // of one: indexNames
}

// New starts the actors. The caller owns the broker and has to Close it.
func New(cfg Config) *Broker {
	cfg.Shards = orDefault(cfg.Shards, 1)
	cfg.Mailbox = orDefault(cfg.Mailbox, 1024)
	cfg.Signers = orDefault(cfg.Signers, 4)
	cfg.Policy.MaxSessions = orDefault(cfg.Policy.MaxSessions, session.DefaultPolicy.MaxSessions)
	cfg.Audit = cmp.Or(cfg.Audit, cfg.Logger)
	b := &Broker{cfg: cfg, seed: maphash.MakeSeed(), signing: semaphore.NewWeighted(cfg.Signers), replays: newReplays(), openings: newOpenings(), naming: semaphore.NewWeighted(1)}
	b.upstreams = upstreamGates(cfg.Providers)
	b.committer = actor.Start(actor.Config[commitRequest, commitResult]{
		Name: "committer", Mailbox: max(cfg.Mailbox, cfg.Shards), MaxBatch: 1024,
		Observer: cfg.ActorObserver, Logger: cfg.Logger,
		New: func() actor.Handler[commitRequest, commitResult] {
			c := &committer{
				store: cfg.Store, ledger: cfg.Ledger, fatal: cfg.Fatal, observe: cfg.Observer,
				clock: cfg.Clock, accessLife: cfg.Policy.AccessLife,
			}
			return c.handle
		},
	})
	for range cfg.Shards {
		b.shards = append(b.shards, actor.Start(actor.Config[shardMessage, shardResult]{
			Name: "shard", Mailbox: cfg.Mailbox, MaxBatch: 256, Gather: gatherFor,
			Observer: cfg.ActorObserver, Logger: cfg.Logger,
			New: func() actor.Handler[shardMessage, shardResult] {
				s := &shard{
					reader: cfg.Store, commit: b.committer.Ask, clock: cfg.Clock,
					policy: b.policy, denylist: cfg.Denylist,
				}
				return s.handle
			},
		}))
	}
	return b
}

// policy is the lifetimes that hold now.
func (b *Broker) policy() session.Policy {
	p := b.cfg.Policy
	if b.cfg.AccessLife != nil {
		p.AccessLife = min(p.AccessLife, b.cfg.AccessLife())
	}
	return p
}

func orDefault[T int | int64](value, fallback T) T {
	if value <= 0 {
		return fallback
	}
	return value
}

// Close answers what was accepted and stops: the shards first, then the committer.
func (b *Broker) Close(ctx context.Context) error {
	var errs []error
	for _, s := range b.shards {
		errs = append(errs, s.Stop(ctx))
	}
	errs = append(errs, b.committer.Stop(ctx))
	return errors.Join(errs...)
}

// MailboxDepth is the number of messages waiting for the shards and the committer.
func (b *Broker) MailboxDepth() (shards, committer int) {
	for _, s := range b.shards {
		shards += s.Stats().Depth
	}
	return shards, b.committer.Stats().Depth
}

// ask hands msg to the shard that owns the user.
func (b *Broker) ask(ctx context.Context, msg shardMessage) (shardResult, error) {
	shard := b.shards[maphash.String(b.seed, msg.uid)%uint64(len(b.shards))]
	result, err := shard.Ask(ctx, msg)
	if err != nil {
		return shardResult{}, b.internal(ctx, "deciding", err)
	}
	return result, nil
}

// grant makes the answer of a committed step. With an error it is without an access token,
// and the rest still holds: the step is on disk, so its refresh token has to reach the
// browser, or the next refresh would look like a thief's.
func (b *Broker) grant(ctx context.Context, eff session.Effects, token refreshToken, csrf string) (*Grant, error) {
	now := b.cfg.Clock.Now()
	token.generation = eff.Session.Generation
	g := &Grant{
		RefreshToken:  token.encode(b.cfg.Secrets),
		RefreshMaxAge: eff.Session.EndsAt(b.cfg.Policy).Sub(now),
		CSRFToken:     csrf,
		User:          b.userObject(eff.User), UID: eff.Session.UID, SID: eff.Session.SID, Replayed: eff.Replayed,
	}
	access, err := b.accessToken(ctx, eff)
	if err != nil {
		return g, err
	}
	g.AccessToken, g.ExpiresAt = access, time.Unix(eff.ExpiresAt, 0)
	g.ExpiresIn = g.ExpiresAt.Sub(now)
	return g, nil
}

// accessToken computes the claims of a committed step's token and signs it.
func (b *Broker) accessToken(ctx context.Context, eff session.Effects) (string, error) {
	custom, err := b.customClaims(ctx, eff)
	if err != nil {
		return "", err
	}
	claims, err := encodeClaims(b.cfg.Issuer, b.cfg.Audience, eff, custom)
	if err != nil {
		return "", claimsFailed("encoding claims", err)
	}
	if err := b.signing.Acquire(ctx, 1); err != nil {
		return "", b.internal(ctx, "waiting to sign", err)
	}
	access, err := b.cfg.Signer.SignAccessToken(ctx, claims)
	b.signing.Release(1)
	if err != nil {
		return "", b.internal(ctx, "signing", err)
	}
	return access, nil
}

// internal turns what went wrong inside into the application error for it, once: an
// *Error passes as it is. The cause is for the log alone.
func (b *Broker) internal(ctx context.Context, doing string, err error) *Error {
	var app *Error
	cause := fmt.Errorf("%s: %w", doing, err)
	switch {
	case errors.As(err, &app):
		return app
	case errors.Is(err, actor.ErrBusy), errors.Is(err, password.ErrBusy), errors.Is(err, errConflicts):
		return &Error{Code: CodeBusy, Message: "Too much is waiting; try again.", RetryAfter: time.Second, Err: cause}
	case errors.Is(err, store.ErrReadOnly):
		return &Error{Code: CodeWritesRefused, Message: "Writes are refused for now.", RetryAfter: 10 * time.Second, Err: cause}
	case errors.Is(err, actor.ErrStopped), errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled), ctx.Err() != nil:
		return &Error{Code: CodeUnavailable, Message: "The broker is shutting down or the request was given up.", RetryAfter: time.Second, Err: cause}
	default:
		return &Error{Code: CodeInternal, Message: "Something went wrong inside.", Err: cause}
	}
}
