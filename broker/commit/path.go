// Package commit is the commit path, by which the use cases write. Each shard is an actor that decides the messages of
// the users it owns, with package session. One committer merges the waiting changes into a transaction
// of records, of the ledger's events and, where sessions are terminated, of their epochs.
//
//	result, err := path.Ask(ctx, commit.Message{UID: uid, SID: sid, Message: session.Rotate{…}})
//
// The order is fixed: the disk, the broker's own denylist, the reply, the broadcast. [Path.ExpectDelivery]
// waits for the broadcast.
package commit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/actor"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// gatherFor bounds how long a shard waits for the next messages of the callers that it has just answered. It
// waits at most a third of the time that the batch took, which is less unless the disk is slow.
const gatherFor = 2 * time.Millisecond

// Config wires a [Path]. Everything without a stated default is required.
type Config struct {
	Store     store.Store
	Ledger    broker.Ledger
	Broadcast broker.Broadcast
	// Receipts are the services' reports of the revocations that they applied. If nil, no use case waits for receipts.
	Receipts broker.Receipts
	Denylist broker.Denylist
	Clock    broker.Clock
	// Policy has the longest lifetimes. A MaxSessions of zero is that of [session.DefaultPolicy].
	Policy session.Policy
	// AccessLife returns the current lifetime of access tokens, which may be less than Policy's AccessLife
	// because services have to learn of a longer lifetime first. It must not block. If nil, Policy's is used.
	AccessLife func() time.Duration

	// StoreVersion returns the version of the store. If nil, it is the newest. It must not block.
	StoreVersion func() int

	// Shards is the number of session shards. If zero, it is 1. Several shards decide concurrently, but
	// reach the committer one after the other, so that fewer refreshes share an fsync (bench/README.md).
	Shards int
	// Mailbox bounds each actor's queue. If zero, it is 1024. If a queue is full, its messages are refused with CodeBusy.
	Mailbox int

	Observer      broker.Observer
	ActorObserver actor.Observer
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Fatal ends the process, because the result of a commit is unknown. The broker must not go on
	// if it returns.
	Fatal func(error)
}

// Path is the commit path: the only way by which the use cases write to the store. It is safe for concurrent use.
type Path struct {
	cfg       Config
	committer *actor.Actor[commitRequest, commitResult]
	shards    []*actor.Actor[Message, Result]
	seed      maphash.Seed
	maxExp    atomic.Int64 // the largest exp that is known to be on record
	clients   *directory.ClientCache
}

// Start starts the shards and the committer. The caller owns the path and must call [Path.Close].
func Start(cfg Config) *Path {
	cfg.Shards = orDefault(cfg.Shards, 1)
	cfg.Mailbox = orDefault(cfg.Mailbox, 1024)
	cfg.Policy.MaxSessions = orDefault(cfg.Policy.MaxSessions, session.DefaultPolicy.MaxSessions)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	p := &Path{cfg: cfg, seed: maphash.MakeSeed(), clients: directory.NewClientCache()}
	p.committer = actor.Start(actor.Config[commitRequest, commitResult]{
		Name: "committer", Mailbox: max(cfg.Mailbox, cfg.Shards), MaxBatch: 1024,
		Observer: cfg.ActorObserver, Logger: cfg.Logger,
		New: func() actor.Handler[commitRequest, commitResult] {
			c := &committer{
				store: cfg.Store, ledger: cfg.Ledger, fatal: cfg.Fatal, observe: cfg.Observer,
				clock: cfg.Clock, accessLife: cfg.Policy.AccessLife, maxExp: &p.maxExp,
			}
			return c.handle
		},
	})
	for range cfg.Shards {
		p.shards = append(p.shards, actor.Start(actor.Config[Message, Result]{
			Name: "shard", Mailbox: cfg.Mailbox, MaxBatch: 256, Gather: gatherFor,
			Observer: cfg.ActorObserver, Logger: cfg.Logger,
			New: func() actor.Handler[Message, Result] {
				s := &shard{reader: cfg.Store, commit: p.committer.Ask, clock: cfg.Clock, policy: p.policy, denylist: cfg.Denylist}
				return s.handle
			},
		}))
	}
	return p
}

// policy returns the current lifetimes.
func (p *Path) policy() session.Policy {
	policy := p.cfg.Policy
	if p.cfg.AccessLife != nil {
		policy.AccessLife = min(policy.AccessLife, p.cfg.AccessLife())
	}
	return policy
}

// AccessLife returns the current lifetime of access tokens.
func (p *Path) AccessLife() time.Duration { return p.policy().AccessLife }

// Close answers the accepted messages and stops: the shards first, then the committer.
func (p *Path) Close(ctx context.Context) error {
	var errs []error
	for _, s := range p.shards {
		errs = append(errs, s.Stop(ctx))
	}
	return errors.Join(append(errs, p.committer.Stop(ctx))...)
}

// MailboxDepth returns the number of messages waiting for the shards and for the committer.
func (p *Path) MailboxDepth() (shards, committer int) {
	for _, s := range p.shards {
		shards += s.Stats().Depth
	}
	return shards, p.committer.Stats().Depth
}

// Ask sends msg to the shard that owns the user and returns the decision once it is on disk. An
// error is a [*broker.Error]. A refusal by the decision is in the result and not an error.
func (p *Path) Ask(ctx context.Context, msg Message) (Result, error) {
	if makesGrant(msg.Message) {
		if err := p.GrantsReady(); err != nil {
			return Result{}, err
		}
	}
	shard := p.shards[maphash.String(p.seed, msg.UID)%uint64(len(p.shards))]
	result, err := shard.Ask(ctx, msg)
	if err != nil {
		return Result{}, AppError(ctx, "deciding", err)
	}
	return result, nil
}

// grantsVersion is the first version of the store whose programs all know grants: others would not end them with their browser
// session, and would forget consents.
const grantsVersion = 2

// GrantsReady returns an error with CodeUnavailable while brokers of an earlier release use the store. No grant is opened and no
// consent is remembered until they have ended.
func (p *Path) GrantsReady() error {
	if p.cfg.StoreVersion == nil || p.cfg.StoreVersion() >= grantsVersion {
		return nil
	}
	return &broker.Error{
		Code: broker.CodeUnavailable, Message: "OAuth clients can be used when all brokers run the present release; try again later.", RetryAfter: 10 * time.Second,
	}
}

func makesGrant(msg session.Message) bool {
	switch m := msg.(type) {
	case session.Open:
		return m.Channel == session.ChannelOAuth
	case session.Allow:
		return true
	}
	return false
}

// View returns a view of one user's records as they are on disk, for reading.
func (p *Path) View(uid string) *UserView { return newView(p.cfg.Store, p.cfg.Denylist).user(uid) }

// ClientEpochs returns the sep and cep of a token that a client gets for itself, whose exp was reserved before (see [Path.Reserve]),
// and the client's record, which is the zero record if there is none.
func (p *Path) ClientEpochs(ctx context.Context, id string) (sep, cep int64, client directory.ClientRecord, err error) {
	v := newView(p.cfg.Store, p.cfg.Denylist)
	if err := v.reader.fetch(ctx, floorKey, directory.ClientKey(id)); err != nil {
		return 0, 0, client, AppError(ctx, "reading the epochs of a client", err)
	}
	floor, err := v.floorEpoch(ctx)
	if err == nil {
		client, err = p.clients.Read(ctx, v.reader, id)
	}
	if err != nil {
		return 0, 0, directory.ClientRecord{}, AppError(ctx, "reading the epochs of a client", err)
	}
	sep, cep = floor, max(client.Epoch, floor)
	if p.cfg.Denylist.Revoked(revocation.Subject{Sub: id, ClientID: id, SEP: sep, CEP: cep}) {
		return 0, 0, directory.ClientRecord{}, &broker.Error{
			Code: broker.CodeUnavailable, Message: "The tokens of this client are revoked, and the store does not have the reason yet; try again.", RetryAfter: time.Second,
		}
	}
	return sep, cep, client, nil
}

// Commit writes changes that no shard decides. errs has one error for each change, and seq is the
// head of the ledger that holds their events. Without changes, it returns when everything that was
// handed to the committer before is on disk, in the own denylist and below the head.
func (p *Path) Commit(ctx context.Context, changes ...store.Change) (errs []error, seq uint64, err error) {
	var request commitRequest
	for _, c := range changes {
		request.changes = append(request.changes, change{Change: c})
	}
	result, err := p.committer.Ask(ctx, request)
	if err != nil {
		return nil, 0, fmt.Errorf("committing: %w", err)
	}
	return result.errs, result.seq, nil
}

// Update commits what build returns until there is no conflict; build reads the store again
// each time, and returns nil if there is nothing to write. Update may meet too many conflicts if a shard keeps
// writing the same record: an operator's change of a user therefore goes through the user's shard.
func (p *Path) Update(ctx context.Context, build func() (*store.Change, error)) error {
	for try := range maxConflicts {
		if err := pause(ctx, try); err != nil {
			return err
		}
		built, err := build()
		if err != nil || built == nil {
			return err
		}
		errs, _, err := p.Commit(ctx, *built)
		if err != nil {
			return err
		}
		if !errors.Is(errs[0], store.ErrConflict) {
			return errs[0]
		}
	}
	return errConflicts
}

// Record records events that belong to no session and no epoch: those of single tokens and of
// signing keys. It sets their At and ExpiresAt: they live until every token signed so far has expired, by any
// broker, because the exp of a token is on record before the token is signed. A token that another
// broker signs with a compromised key before it learns of that ends within the margin of the event.
func (p *Path) Record(ctx context.Context, events []revocation.Event) (seq uint64, err error) {
	floor, _, err := ReadFloor(ctx, p.cfg.Store)
	if err != nil {
		return 0, err
	}
	now := p.cfg.Clock.Now()
	for i := range events {
		events[i].At, events[i].ExpiresAt = now.Unix(), floor.EventExpiry(now, p.cfg.Policy.AccessLife)
	}
	errs, seq, err := p.Commit(ctx, store.Change{Events: events})
	if err != nil {
		return 0, err
	}
	return seq, errs[0]
}

// End commits a termination that no shard decides. It tries again after a conflict, which only
// another broker on the store can have caused.
func (p *Path) End(ctx context.Context, t Termination) (epoch int64, seq uint64, err error) {
	for try := range maxConflicts {
		if err := pause(ctx, try); err != nil {
			return 0, 0, err
		}
		result, err := p.committer.Ask(ctx, commitRequest{changes: []change{{termination: &t}}})
		if err != nil {
			return 0, 0, fmt.Errorf("committing: %w", err)
		}
		if !errors.Is(result.errs[0], store.ErrConflict) {
			return result.epochs[0], result.seq, result.errs[0]
		}
	}
	return 0, 0, errConflicts
}

func orDefault[T int | int64](value, fallback T) T {
	if value <= 0 {
		return fallback
	}
	return value
}
