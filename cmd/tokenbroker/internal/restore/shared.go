package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tokenbroker/cmd/tokenbroker/internal/bulkwrite"
	"tokenbroker/keyring"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// Engine is a store that several brokers share.
type Engine interface {
	store.Engine
	// Each calls fn for every record below prefix, as of one view.
	Each(ctx context.Context, prefix string, fn func(store.Write) error) error
}

// Errors of a restore into a shared store, and of a floor raise there.
var (
	// ErrNotEmpty is returned for a restore into a store that has records.
	ErrNotEmpty = errors.New("the store is not empty")
	// ErrUnfinished is in the chain of an error that came after the store was changed.
	ErrUnfinished = errors.New("the store is incomplete, and no broker starts with it: run the command again")
)

// What the programs do, for [origins.Config]. Their origins' names have a space, unlike those of brokers.
const (
	restoring  = "restore"
	raising    = "floor raise"
	namePrefix = "tokenbroker "
)

// join takes the shared store for this program. It waits for up to half a minute if brokers did not end their runs.
func (p *Plan) join(ctx context.Context, what string) (*origins.Run, error) {
	run, err := origins.Join(ctx, origins.Config{
		Engine: p.cfg.Engine, Name: namePrefix + what, KEK: keyring.Fingerprint(p.cfg.KEK), Maintenance: what, Wall: p.cfg.Now,
		Sleep: p.cfg.sleep, Mono: p.cfg.mono, Logger: p.cfg.Logger,
	})
	switch {
	case errors.Is(err, origins.ErrRunning):
		return nil, fmt.Errorf("%w: stop all brokers first", err)
	case err != nil:
		return nil, explainMaintenance(err)
	}
	return run, nil
}

func explainMaintenance(err error) error {
	if errors.Is(err, origins.ErrMaintenance) {
		return fmt.Errorf("%w: wait until that command has ended, and run it again if it was interrupted", err)
	}
	return err
}

// checkEmpty returns an error unless the shared store has no records, or only those of an interrupted restore.
func (p *Plan) checkEmpty(ctx context.Context, from store.Reader) error {
	m, err := origins.ReadMaintenance(ctx, from)
	switch {
	case err != nil:
		return err
	case m.What == restoring && m.Replaces:
		p.interrupted = true
		return nil
	case m.What != "" && m.What != restoring:
		return explainMaintenance(fmt.Errorf("%w (%s)", origins.ErrMaintenance, m.What))
	}
	all, err := origins.List(ctx, from)
	if err != nil {
		return err
	}
	var brokers []string
	known := 0
	for _, o := range all {
		switch {
		case strings.HasPrefix(o.Name, namePrefix):
			known++
		case !o.Ended:
			brokers = append(brokers, o.Name)
		}
	}
	if m.What != "" {
		known++
	}
	records, err := from.List(ctx, "", "", known+1)
	if err != nil || len(records) <= known {
		return err
	}
	what := "has records, such as " + records[0].Key
	if len(brokers) > 0 {
		what += ", and brokers that did not end their runs: " + strings.Join(brokers, ", ")
	}
	return fmt.Errorf("%w: %s %s: restore into another prefix or schema (store.etcd.prefix or store.postgres.schema, at each broker), which keeps the old store, or stop all brokers and remove the old records",
		ErrNotEmpty, p.cfg.Where, what)
}

// runShared fills the shared store. No broker joins from the first record on until all of it is done.
func (p *Plan) runShared(ctx context.Context, r *Result) error {
	run, err := p.join(ctx, restoring)
	if err != nil {
		return err
	}
	p.interrupted = false
	if err := p.checkEmpty(ctx, run); err != nil {
		return errors.Join(err, run.Finish(ctx))
	}
	if err := p.refill(ctx, run, r); err != nil {
		return unfinished(ctx, run, err)
	}
	p.cfg.at("finish")
	if err := run.Finish(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return nil
}

// refill deletes what an interrupted restore has left and fills the store.
func (p *Plan) refill(ctx context.Context, run *origins.Run, r *Result) error {
	if p.interrupted {
		p.cfg.at("clear")
		if err := bulkwrite.Clear(ctx, run, run.Own); err != nil {
			return fmt.Errorf("deleting the records of the interrupted restore: %w", err)
		}
	}
	p.cfg.at("claim")
	if err := run.Replace(ctx, ""); err != nil {
		return err
	}
	p.cfg.at("fill")
	err := bulkwrite.Fill(ctx, run, func(write func(store.Write) error) error {
		return p.file.Each(ctx, func(w store.Write) error {
			if ofBrokers(w.Key) || ofLedger(w.Key) {
				return nil
			}
			return write(w)
		})
	}, nil)
	if err != nil {
		return fmt.Errorf("filling the store: %w", err)
	}
	p.cfg.at("renew")
	return p.renew(ctx, run, nil, r)
}

// unfinished ends the run, so that the next one need not wait, and returns err as one that came after a change.
func unfinished(ctx context.Context, run *origins.Run, err error) error {
	leaving := context.WithoutCancel(ctx)
	return fmt.Errorf("%w: %w", ErrUnfinished, errors.Join(err, run.Leave(leaving)))
}

// ofBrokers reports whether a record is about the runs of the brokers that shared the store of a backup, or about a program
// that had that store for itself. It means nothing in another store.
func ofBrokers(key string) bool {
	return strings.HasPrefix(key, origins.Prefix) || key == origins.CollectorKey || key == origins.MaintenanceKey
}

// ofLedger reports whether a record is one of a revocation. A restore leaves them out: it refuses all earlier tokens and
// sessions by the floor and by their keys, and a shared store has revocations in another form than an embedded one.
func ofLedger(key string) bool {
	return strings.HasPrefix(key, "ledger.batch.") || strings.HasPrefix(key, "ledger.event.")
}

// prepareShared reads the records of the shared store.
func (r *Raise) prepareShared(ctx context.Context) error {
	p := &r.plan
	confirm := store.Confirmation(p.cfg.Engine)
	m, err := origins.ReadMaintenance(ctx, p.cfg.Engine)
	switch {
	case err != nil:
		return err
	case m.What != "" && m.What != raising:
		return explainMaintenance(fmt.Errorf("%w (%s)", origins.ErrMaintenance, m.What))
	}
	if _, err := p.openSealers(); err != nil {
		return err
	}
	keys, err := r.count(ctx, p.cfg.Engine)
	if err != nil {
		return err
	}
	if r.Counts.Records == 0 {
		return fmt.Errorf("%s has no store: name the prefix or the schema of the brokers", p.cfg.Where)
	}
	all, err := origins.List(ctx, p.cfg.Engine)
	if err == nil {
		err = confirm(ctx)
	}
	if err != nil {
		return err
	}
	for _, o := range all {
		if !o.Ended {
			r.live = append(r.live, o.Name)
		}
	}
	return r.checkKeys(ctx, keys)
}

// runShared raises the floor of the shared store in place.
func (r *Raise) runShared(ctx context.Context, done *Raised) error {
	p := &r.plan
	run, err := p.join(ctx, raising)
	if err != nil {
		return err
	}
	p.cfg.at("renew")
	if err := r.renew(ctx, run, done); err != nil {
		return unfinished(ctx, run, err)
	}
	p.cfg.at("finish")
	if err := run.Finish(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return nil
}

// renew gives the records a new identity.
func (r *Raise) renew(ctx context.Context, made store.Store, done *Raised) error {
	var renewed Result
	if err := r.plan.renewRecords(ctx, made, nil, &renewed); err != nil {
		return err
	}
	r.plan.cfg.at("keys")
	if r.keyring {
		if err := r.plan.renewKeys(ctx, made, nil, &renewed); err != nil {
			return err
		}
		done.Keys, done.Compromised = renewed.Keys, renewed.Compromised
	}
	done.Store, done.Epoch = renewed.Store, renewed.Epoch
	return nil
}
