package keyring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"tokenbroker/keyring/lifecycle"
)

// changeTries is how often a change is planned again because another process changed the record in the
// meantime.
const changeTries = 32

// newKeys are keys that were made for a plan, with their material.
type newKeys struct {
	spare    lifecycle.Spare
	material map[string]material
}

// change calls decide to plan a change of the record and stores it, if the record was not changed in the
// meantime; otherwise it plans again with the present record. If decide returns an error, nothing is
// stored, except for [lifecycle.ErrClockBehind], which is returned with the changes that were possible.
// The plan that change returns is of the record after the change.
func (k *Keyring) change(ctx context.Context, decide func(*lifecycle.Plan) error) (*lifecycle.Plan, []lifecycle.Change, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	made := newKeys{lifecycle.Spare{}, map[string]material{}}
	for conflicts := 0; conflicts < changeTries; {
		if err := k.reload(ctx); err != nil {
			return nil, nil, err
		}
		var lastExpiry time.Time
		if k.cfg.LastExpiry != nil {
			var err error
			if lastExpiry, err = k.cfg.LastExpiry(ctx); err != nil {
				return nil, nil, fmt.Errorf("reading when the last token expires: %w", err)
			}
			k.noteExpiry(lastExpiry)
		}
		s := k.current.Load()
		p := k.plan(s, made.spare)
		p.LastExpiry = lastExpiry
		err := decide(p)
		if missing, ok := errors.AsType[*lifecycle.MissingKeyError](err); ok {
			if err := k.make(ctx, missing.Type, made); err != nil {
				return nil, nil, err
			}
			continue
		}
		if err != nil && !errors.Is(err, lifecycle.ErrClockBehind) {
			return nil, nil, err
		}
		if !p.Changed() {
			return p, nil, err
		}
		stored := k.store(ctx, s.rec.with(p.Set, made.material), s.rev)
		switch {
		case stored == nil:
			k.noteExpiry(p.LastExpiry)
			k.report(ctx, p.Changes())
			return k.plan(k.current.Load(), nil), p.Changes(), err
		case !errors.Is(stored, ErrConflict):
			return nil, nil, fmt.Errorf("storing the keyring: %w", stored)
		}
		conflicts++
	}
	return nil, nil, fmt.Errorf("storing the keyring: %w, %d times in a row", ErrConflict, changeTries)
}

// plan starts a plan on a copy of the snapshot's key set.
func (k *Keyring) plan(s *snapshot, spare lifecycle.Spare) *lifecycle.Plan {
	return lifecycle.NewPlan(lifecycle.Input{
		Set: s.rec.KeySet, Policy: k.cfg.policy(), Now: k.cfg.Now(),
		Mono: k.cfg.Mono(), Observed: *k.observed.Load(), Spare: spare,
	})
}

// store checks the record, writes it and adopts it.
func (k *Keyring) store(ctx context.Context, rec *record, rev uint64) error {
	if err := rec.check(); err != nil {
		return err
	}
	s, err := newSnapshot(ctx, &k.cfg, k.sealer, rec)
	if err != nil {
		return err
	}
	data, err := rec.encode(ctx, k.sealer)
	if err != nil {
		return err
	}
	if err := k.cfg.Store.CompareAndSwap(ctx, data, rev); err != nil {
		return err
	}
	k.adopt(s)
	return nil
}

// make makes a new key and adds it to to.
func (k *Keyring) make(ctx context.Context, want lifecycle.KeyType, to newKeys) error {
	made, m, err := newKey(ctx, k.sealer, want, lifecycle.StateNext, k.cfg.Now())
	if err != nil {
		return err
	}
	if made.Jitter, err = k.cfg.jitter(); err != nil {
		return err
	}
	to.spare[want], to.material[made.KID] = made, m
	return nil
}

// jitter returns a random value from -MaxJitter to MaxJitter.
func (c *Config) jitter() (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(c.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("drawing jitter: %w", err)
	}
	return int64(binary.BigEndian.Uint64(b[:])%(2*lifecycle.MaxJitter+1)) - lifecycle.MaxJitter, nil
}

// report logs the changes and passes them to OnChange.
func (k *Keyring) report(ctx context.Context, changes []lifecycle.Change) {
	for _, c := range changes {
		k.cfg.Logger.InfoContext(ctx, strings.ReplaceAll(c.What, "_", " "), "key", c.Key)
		if k.cfg.OnChange != nil {
			k.cfg.OnChange(c)
		}
	}
}
