// Package migrate moves the records of a stopped broker, or of stopped brokers, to another store: from one engine to another, or to
// another place of the same engine. The id of the store, its keys, sessions and revocations stay as they are.
//
// At no moment may brokers start with both stores:
//
//	the target is claimed     its maintenance record keeps brokers away; so does that of the source, or its lock
//	copy, then compare
//	the source is marked      from here on it does not start, and its records are those of the target
//	the target is released
//
// A process that ends between two of these steps, or within one, leaves a state in which the same command continues. Until the
// source is marked, its records do not change, and what was copied to the target may be deleted.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// Engine is a store that a migration reads or writes.
type Engine interface {
	store.Engine
	ledger.Records
}

// Side is one of the two stores.
type Side struct {
	Engine Engine
	// Single says that one broker has the store for itself, and records revocations in another form than brokers that
	// share a store.
	Single bool
	// Where names the store in messages.
	Where string
	// KEK is the key encryption key of the brokers' configuration.
	KEK keyring.KEK
}

// Config of a migration. From and To are required.
type Config struct {
	From, To Side
	// Progress is called with the number of records to copy, and then with that to compare. It returns a function to call with the
	// number of records that were processed since, and one for the end. If nil, progress is not reported.
	Progress func(total int) (add func(int), end func())
	// Now is the wall clock. If nil, time.Now is used.
	Now func() time.Time
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger

	// at is called with the name of each step before the step starts; its error ends the migration. It is for tests.
	at func(step string) error
	// sleep and mono are the clocks by which silent brokers are waited for. If nil, they are the machine's.
	sleep func(context.Context, time.Duration) error
	mono  func() time.Duration
}

func (c *Config) defaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Progress == nil {
		c.Progress = func(int) (func(int), func()) { return func(int) {}, func() {} }
	}
	if c.at == nil {
		c.at = func(string) error { return nil }
	}
}

// Errors of a migration that the caller may want to tell apart.
var (
	// ErrNoStore is returned for a source that has no store.
	ErrNoStore = errors.New("there is no store")
	// ErrSame is returned if both stores are the same one, or copies of each other.
	ErrSame = errors.New("both configurations name the same store, or one is a copy of the other")
	// ErrNotEmpty is returned for a target with records that are not those of an interrupted migration of the same source.
	ErrNotEmpty = errors.New("the target is not empty")
	// ErrOtherKEK is returned if the configurations have different key encryption keys, or not that of the source.
	ErrOtherKEK = errors.New("the target needs the key encryption key of the source")
	// ErrClock is returned if the machine's clock is behind the time floor of the source.
	ErrClock = errors.New("this machine's clock is wrong")
	// ErrDifferent is returned if the target does not have the records that were copied.
	ErrDifferent = errors.New("the target does not have the records of the source")
)

// state is how far an earlier run of the same migration came.
type state int

const (
	fresh       state = iota
	interrupted       // the target has a part of the records, and brokers cannot start with it
	returning         // the target is a store that was moved, and the source has its records
	marked            // the source is marked, the target not yet released
	done              // the target is released
)

// Counts are the numbers of records of the source.
type Counts struct {
	Records  int `json:"records"`
	Users    int `json:"users"`
	Sessions int `json:"sessions"`
}

// Plan is a checked migration that has not run yet.
type Plan struct {
	cfg   Config
	state state
	// Store is the id of both stores.
	Store string
	Counts
	// silent are the names of the brokers of the source and of the target that did not end their runs.
	silent []string
}

// Prepare makes every check that is possible without a change, and returns the first error that it finds: those of this package,
// [origins.ErrMaintenance] if another program has one of the stores for itself, and [origins.ErrMoved] if the records
// of the source were moved to a third store.
func Prepare(ctx context.Context, cfg Config) (*Plan, error) {
	cfg.defaults()
	p := &Plan{cfg: cfg}
	if err := p.checkSource(ctx); err != nil {
		return nil, err
	}
	var err error
	p.state, err = p.judge(ctx, cfg.From.Engine, cfg.To.Engine)
	return p, err
}

// checkSource reads the source.
func (p *Plan) checkSource(ctx context.Context) error {
	from := p.cfg.From
	var keys []byte
	err := from.Engine.Each(ctx, "", func(w store.Write) error {
		kind, _, _ := strings.Cut(w.Key, ".")
		switch kind {
		case "user":
			p.Users++
		case "session":
			p.Sessions++
		case node.KeyringKey:
			keys = w.Value
		}
		p.Records++
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", from.Where, err)
	}
	id, floor, err := ledger.StoreOf(ctx, from.Engine)
	if err != nil {
		return fmt.Errorf("reading %s: %w", from.Where, err)
	}
	if p.Store = id; id == "" || keys == nil {
		return fmt.Errorf("%w in %s: name the configuration of brokers that have run", ErrNoStore, from.Where)
	}
	if now := p.cfg.Now(); now.Unix() < floor {
		return fmt.Errorf("%w: it shows %s, and revocations were collected at %s: set it right, because with a wrong clock revoked tokens could become valid again",
			ErrClock, now.UTC().Format(time.RFC3339), time.Unix(floor, 0).UTC().Format(time.RFC3339))
	}
	if keyring.Fingerprint(from.KEK) != keyring.Fingerprint(p.cfg.To.KEK) {
		return fmt.Errorf("%w: the configurations have different ones: set keyring.kek of the target's to the key of the source's", ErrOtherKEK)
	}
	sealer, err := keyring.NewAESGCM(from.KEK)
	if err != nil {
		return err
	}
	if err := keyring.CheckRecord(ctx, sealer, keys); errors.Is(err, keyring.ErrWrongKEK) {
		return fmt.Errorf("%w, and both configurations have another one: %w", ErrOtherKEK, err)
	} else if err != nil {
		return fmt.Errorf("the keyring in %s: %w", from.Where, err)
	}
	return p.findSilent(ctx)
}

// findSilent notes the brokers that did not end their runs, which Run has to wait for.
func (p *Plan) findSilent(ctx context.Context) error {
	for _, side := range []Side{p.cfg.From, p.cfg.To} {
		all, err := origins.List(ctx, side.Engine)
		if err != nil {
			return err
		}
		for _, o := range all {
			if !o.Ended && !strings.HasPrefix(o.Name, program) {
				p.silent = append(p.silent, o.Name)
			}
		}
	}
	return nil
}

// judge returns how far an earlier run of the migration came, or why the records cannot be moved to the target.
func (p *Plan) judge(ctx context.Context, from, to store.Reader) (state, error) {
	source, err := origins.ReadMaintenance(ctx, from)
	if err != nil {
		return 0, err
	}
	target, err := origins.ReadMaintenance(ctx, to)
	if err != nil {
		return 0, err
	}
	for _, m := range []origins.Maintenance{source, target} {
		if m.What != "" && m.What != origins.Migration {
			return 0, fmt.Errorf("%w (%s): wait until that command has ended, and run it again if it was interrupted", origins.ErrMaintenance, m.What)
		}
	}
	if source.Replaces {
		return 0, fmt.Errorf("%w (%s): a migration to %s has not finished: run that one again", origins.ErrMaintenance, source.What, p.cfg.From.Where)
	}
	moved, err := origins.ReadMoved(ctx, from)
	if err != nil {
		return 0, err
	}
	gone, err := origins.ReadMoved(ctx, to)
	if err != nil {
		return 0, err
	}
	id, _, err := ledger.StoreOf(ctx, to)
	if err != nil && !target.Replaces {
		return 0, err
	}
	same := id == p.Store
	switch {
	case moved.ID != "" && target.Replaces && target.Of == moved.ID:
		return marked, nil
	case moved.ID != "" && same && gone.ID == "" && target.What == "":
		return done, nil
	case moved.ID != "":
		return 0, fmt.Errorf("%w to %s at %s", origins.ErrMoved, moved.To, time.UnixMilli(moved.AtMS).UTC().Format(time.RFC3339))
	case target.Replaces && strings.HasPrefix(target.Of, p.Store+"/"):
		return interrupted, nil
	case same && gone.ID != "" && !target.Replaces:
		return returning, nil
	case same && !target.Replaces:
		return 0, ErrSame
	}
	return fresh, p.checkEmpty(ctx)
}

// errFound ends the search for a record.
var errFound = errors.New("found")

// checkEmpty returns an error if the target has a record that is not about the runs of such programs.
func (p *Plan) checkEmpty(ctx context.Context) error {
	to := p.cfg.To
	found := ""
	err := to.Engine.Each(ctx, "", func(w store.Write) error {
		if strings.HasPrefix(w.Key, origins.Prefix) {
			o, err := origins.Decode(store.Record{Key: w.Key, Value: w.Value})
			if err != nil || strings.HasPrefix(o.Name, program) {
				return err
			}
		}
		if ofBrokers(w.Key) {
			return nil
		}
		found = w.Key
		return errFound
	})
	if !errors.Is(err, errFound) {
		return err
	}
	return fmt.Errorf("%w: %s has records, such as %s: name another data directory, prefix or schema, or remove these records", ErrNotEmpty, to.Where, found)
}

// ofBrokers reports whether a record is about the programs that use a store, and not a part of what they keep in it.
func ofBrokers(key string) bool {
	return key == origins.MaintenanceKey || key == origins.MovedKey || key == origins.CollectorKey
}
