package keyring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// changeTries bounds how often a change is begun again because another one was faster.
const changeTries = 32

// change lets decide change a copy of the record and stores it, if the record still is what
// decide saw; else it begins again with what is there now. An error of decide stores nothing,
// but for [ErrClockBehind], which stands beside what could be done all the same.
func (k *Keyring) change(ctx context.Context, decide func(*plan) error) (*plan, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	made := stock{keys: map[need]keyRecord{}}
	for conflicts := 0; conflicts < changeTries; {
		if err := k.reload(ctx); err != nil {
			return nil, err
		}
		s := k.current.Load()
		p := k.plan(s, made)
		if k.cfg.LastExpiry != nil {
			var err error
			if p.lastExpiry, err = k.cfg.LastExpiry(ctx); err != nil {
				return nil, fmt.Errorf("reading when the last token expires: %w", err)
			}
			k.noteExpiry(p.lastExpiry)
		}
		err := decide(p)
		if lack, ok := errors.AsType[*lackError](err); ok {
			if err := k.make(ctx, lack.need, &made); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil && !errors.Is(err, ErrClockBehind) {
			return nil, err
		}
		if !p.changed {
			return p, err
		}
		stored := k.store(ctx, p.rec, s.rev)
		switch {
		case stored == nil:
			k.noteExpiry(p.lastExpiry)
			k.tell(ctx, p.changes)
			return k.plan(k.current.Load(), stock{}).after(p), err
		case !errors.Is(stored, ErrConflict):
			return nil, fmt.Errorf("storing the keyring: %w", stored)
		}
		conflicts++
	}
	return nil, fmt.Errorf("storing the keyring: %w, %d times in a row", ErrConflict, changeTries)
}

// plan begins a plan over a copy of the snapshot's record.
func (k *Keyring) plan(s *Snapshot, made stock) *plan {
	mono, known := k.cfg.Mono(), *k.known.Load()
	return &plan{
		rec: s.rec.clone(), limits: k.cfg.limits(), now: k.cfg.Now(), stock: made,
		ran: func(mark string) time.Duration {
			if seen, ok := known[mark]; ok {
				return mono - seen.since
			}
			return 0
		},
		expiryAtSight: func(mark string) time.Time { return known[mark].lastExpiry },
	}
}

// after keeps what was done beside a plan over the record as it is now.
func (p *plan) after(done *plan) *plan {
	p.changes = done.changes
	return p
}

// store writes a record that is known to open, and uses it.
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

// make adds what is needed to the stock.
func (k *Keyring) make(ctx context.Context, want need, to *stock) error {
	jitter, err := k.cfg.jitter()
	if err != nil {
		return err
	}
	if want.purpose == PurposeMaster {
		m, err := newMaster(ctx, k.sealer, StateNext, k.cfg.Now())
		if err != nil {
			return err
		}
		m.Jitter = jitter
		to.masters = append(to.masters, m)
		return nil
	}
	made, err := newKey(ctx, k.sealer, want.purpose, want.algorithm, StateNext, k.cfg.Now())
	if err != nil {
		return err
	}
	made.Jitter = jitter
	to.keys[want] = made
	return nil
}

// jitter is evenly drawn from ± maxJitter thousandths.
func (c *Config) jitter() (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(c.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("drawing jitter: %w", err)
	}
	return int64(binary.BigEndian.Uint64(b[:])%(2*maxJitter+1)) - maxJitter, nil
}

func (k *Keyring) tell(ctx context.Context, changes []Change) {
	for _, c := range changes {
		k.cfg.Logger.InfoContext(ctx, strings.ReplaceAll(c.What, "_", " "), "key", c.Key)
		if k.cfg.OnChange != nil {
			k.cfg.OnChange(c)
		}
	}
}
