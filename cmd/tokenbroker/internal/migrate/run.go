package migrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/bulkwrite"
	"tokenbroker/keyring"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

const (
	// program is the prefix of the names of programs that need a store for themselves. It has a space, unlike the names of brokers.
	program = "tokenbroker "
	// beatEvery is how often the records of the two runs are written at least, so that another program sees that they live.
	beatEvery = 2 * time.Second
	// leaveTimeout bounds the end of the runs after a failure.
	leaveTimeout = 5 * time.Second
)

// Errors of a migration that began, by what has to be done. They are in the chain of the error of [Plan.Run].
var (
	// ErrIncomplete says that the target was changed, and the source was not.
	ErrIncomplete = errors.New("the records are still those of the source; what was copied is incomplete, and no broker starts with it: run the command again, or start the brokers with the old configuration")
	// ErrUnfinished says that the source may have been marked as moved, so that brokers may be unable to start with either store.
	ErrUnfinished = errors.New("all records are copied, but brokers may be unable to start with either store: run the command again")
)

// errAtOnce is returned if both stores changed after they were checked.
var errAtOnce = errors.New("another migration of these stores ran at the same time: run the command again")

// Result is the result of a migration.
type Result struct {
	// Store is the id of the store, From and To name the places.
	Store string `json:"store"`
	From  string `json:"from"`
	To    string `json:"to"`
	Counts
	// Written is the number of records of the target, and Digest the digest of those that both sides were compared by. Both are
	// empty if an earlier run had copied them.
	Written int    `json:"written,omitempty"`
	Digest  string `json:"digest,omitempty"`
	// Seconds is how long the migration took.
	Seconds float64 `json:"seconds"`
	// Earlier says that an earlier run had moved the records: this one released the target, or had nothing to do.
	Earlier bool `json:"earlier,omitempty"`
}

// run is one call of [Plan.Run].
type run struct {
	*Plan
	source, target *origins.Run
	// claimed says that the target was changed.
	claimed bool
	stop    func() error // ends the goroutine that keeps the runs alive
}

// Run moves the records. Without ErrIncomplete and ErrUnfinished in the chain of its error, nothing was changed. It must be
// called at most once.
func (p *Plan) Run(ctx context.Context) (Result, error) {
	began := p.cfg.Now()
	done := Result{Store: p.Store, From: p.cfg.From.Where, To: p.cfg.To.Where, Counts: p.Counts}
	r := &run{Plan: p, stop: func() error { return nil }}
	err := r.run(ctx, &done)
	done.Seconds = p.cfg.Now().Sub(began).Seconds()
	return done, err
}

func (r *run) run(ctx context.Context, result *Result) error {
	if r.state == done || r.state == marked {
		result.Earlier = true
		return r.finishEarlier(ctx)
	}
	id := r.Store + "/" + rand.Text()
	if err := r.fill(ctx, id, result); err != nil {
		err = errors.Join(err, r.stop(), r.release(ctx))
		if r.claimed {
			err = fmt.Errorf("%w: %w", ErrIncomplete, err)
		}
		return err
	}
	err := r.stop()
	if err == nil {
		err = r.cfg.at("mark")
	}
	if err == nil {
		err = r.source.Move(ctx, origins.Moved{To: r.cfg.To.Where, AtMS: r.cfg.Now().UnixMilli(), ID: id})
	}
	if err == nil {
		err = r.cfg.at("release")
	}
	if err == nil {
		err = r.target.Finish(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	r.tidy(ctx)
	return nil
}

// fill copies the records to the target and compares both.
func (r *run) fill(ctx context.Context, id string, result *Result) (err error) {
	if err := r.cfg.at("join source"); err != nil {
		return err
	}
	if r.source, err = r.join(ctx, r.cfg.From); err != nil {
		return err
	}
	if err := r.cfg.at("join target"); err != nil {
		return err
	}
	if r.target, err = r.join(ctx, r.cfg.To); err != nil {
		return err
	}
	ctx, r.stop = r.keepAlive(ctx)
	state, err := r.judge(ctx, r.source, r.target) // from here on no other program changes the stores
	if err != nil {
		return err
	}
	if state == marked || state == done {
		return errAtOnce
	}
	if err := r.cfg.at("claim"); err != nil {
		return err
	}
	r.claimed = true
	if err := r.target.Replace(ctx, id); err != nil {
		return err
	}
	if err := r.cfg.at("clear"); err != nil {
		return err
	}
	if err := bulkwrite.Clear(ctx, r.target, r.target.Own); err != nil {
		return fmt.Errorf("deleting the records of an earlier migration in %s: %w", r.cfg.To.Where, err)
	}
	if err := r.cfg.at("copy"); err != nil {
		return err
	}
	copied, err := r.copy(ctx)
	if err != nil {
		return fmt.Errorf("copying to %s: %w", r.cfg.To.Where, cause(ctx, err))
	}
	if err := r.cfg.at("compare"); err != nil {
		return err
	}
	result.Written, result.Digest, err = r.compare(ctx, copied)
	return err
}

// join takes a store for the migration. It waits for up to half a minute if brokers did not end their runs.
func (r *run) join(ctx context.Context, side Side) (*origins.Run, error) {
	joined, err := origins.Join(ctx, origins.Config{
		Engine: side.Engine, Name: program + origins.Migration, KEK: keyring.Fingerprint(side.KEK), Maintenance: origins.Migration,
		Wall: r.cfg.Now, Sleep: r.cfg.sleep, Mono: r.cfg.mono, Logger: r.cfg.Logger,
	})
	switch {
	case errors.Is(err, origins.ErrRunning):
		return nil, fmt.Errorf("%s: %w: stop all brokers first", side.Where, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", side.Where, err)
	}
	return joined, nil
}

// each passes to write the records that the target gets.
func (r *run) each(ctx context.Context, write func(store.Write) error) error {
	from, to := r.cfg.From, r.cfg.To
	convert := from.Single != to.Single
	err := from.Engine.Each(ctx, "", func(w store.Write) error {
		if ofBrokers(w.Key) || strings.HasPrefix(w.Key, origins.Prefix) || convert && ledger.Converted(w.Key) {
			return nil
		}
		return write(w)
	})
	switch {
	case err != nil:
		return err
	case !convert:
		return ledger.WriteOrigins(ctx, from.Engine, write)
	case to.Single:
		return ledger.ToSingle(ctx, from.Engine, write)
	}
	return ledger.ToShared(ctx, from.Engine, r.Store, keyring.Fingerprint(from.KEK), r.cfg.Now(), write)
}

// copy writes the records and returns their digest.
func (r *run) copy(ctx context.Context) (*digest, error) {
	copied := newDigest(r.cfg.Now())
	add, end := r.cfg.Progress(r.Records)
	defer end()
	confirm := store.Confirmation(r.cfg.From.Engine)
	err := bulkwrite.Fill(ctx, r.target, func(write func(store.Write) error) error {
		return r.each(ctx, func(w store.Write) error {
			copied.add(w)
			return write(w)
		})
	}, add)
	if err == nil {
		err = confirm(ctx) // an old primary of the source may lack revocations
	}
	return copied, err
}

// compare reads the target and compares it with what was copied. Records that have expired since are left out.
func (r *run) compare(ctx context.Context, copied *digest) (records int, text string, err error) {
	found := copied.newFound()
	add, end := r.cfg.Progress(copied.records)
	defer end()
	err = r.cfg.To.Engine.Each(ctx, "", func(w store.Write) error {
		if !r.target.Own(w.Key) {
			found.add(w)
			add(1)
		}
		return nil
	})
	if err != nil {
		return 0, "", fmt.Errorf("reading %s: %w", r.cfg.To.Where, err)
	}
	text, err = found.compare(r.cfg.Now())
	return found.records, text, err
}

// finishEarlier releases the target after an earlier run has marked the source.
func (r *run) finishEarlier(ctx context.Context) (err error) {
	if r.state == done {
		r.tidy(ctx)
		return nil
	}
	if r.target, err = r.join(ctx, r.cfg.To); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	again, err := r.judge(ctx, r.cfg.From.Engine, r.target)
	if err == nil && again != marked {
		err = errAtOnce
	}
	if err == nil {
		err = r.cfg.at("release")
	}
	if err == nil {
		err = r.target.Finish(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	r.tidy(ctx)
	return nil
}
