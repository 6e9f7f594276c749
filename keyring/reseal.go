package keyring

import (
	"context"
	"errors"
	"fmt"
)

// Reseal seals everything under another key encryption key, in one compare-and-set: the
// record opens wholly under the old one or wholly under the new one, whenever the process
// ends. From the return on the sealer is in use, and only then may the old KEK go. A record
// that is sealed under it already is taken as it is, so that a Reseal can be repeated.
//
// After an error the record may be under either: keep both KEKs and repeat it. Other brokers
// of the store go on with what they have until they are given the new KEK.
func (k *Keyring) Reseal(ctx context.Context, sealer Sealer) error {
	if sealer == nil {
		return errors.New("resealing the keyring: a sealer is required")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for range changeTries {
		err := k.resealOnce(ctx, sealer)
		if err == nil {
			k.tell(ctx, []Change{{What: ChangeResealed, At: k.cfg.Now().UTC()}})
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("resealing the keyring: %w", err)
		}
	}
	return fmt.Errorf("resealing the keyring: %w, %d times in a row", ErrConflict, changeTries)
}

func (k *Keyring) resealOnce(ctx context.Context, sealer Sealer) error {
	data, rev, err := k.cfg.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("loading the record: %w", err)
	}
	rec, err := decodeRecord(ctx, k.sealer, data)
	if errors.Is(err, ErrWrongKEK) {
		return k.takeOver(ctx, sealer, data, rev)
	}
	if err != nil {
		return err
	}
	if err := rec.reseal(ctx, k.sealer, sealer); err != nil {
		return err
	}
	s, err := newSnapshot(ctx, &k.cfg, sealer, rec)
	if err != nil {
		return err
	}
	sealed, err := rec.encode(ctx, sealer)
	if err != nil {
		return err
	}
	if err := k.cfg.Store.CompareAndSwap(ctx, sealed, rev); err != nil {
		if !errors.Is(err, ErrConflict) {
			k.resealing = sealer // it may have been stored all the same
		}
		return err
	}
	k.sealer, k.resealing = sealer, nil
	k.adopt(s)
	return nil
}

// takeOver uses a record that is sealed under the new KEK already.
func (k *Keyring) takeOver(ctx context.Context, sealer Sealer, data []byte, rev uint64) error {
	s, err := k.open(ctx, sealer, data, rev)
	if err != nil {
		return err
	}
	k.sealer, k.resealing = sealer, nil
	k.adopt(s)
	return nil
}

// reseal replaces every sealed value. What no state needs is not carried over.
func (r *record) reseal(ctx context.Context, from, to Sealer) error {
	for i := range r.Keys {
		key := &r.Keys[i]
		if !key.State.signs() {
			key.Private = nil
			continue
		}
		var err error
		if key.Private, err = resealed(ctx, from, to, key.Private, key.aad()); err != nil {
			return fmt.Errorf("the %s: %w", key.info(), err)
		}
	}
	for i := range r.Masters {
		m := &r.Masters[i]
		var err error
		if m.Sealed, err = resealed(ctx, from, to, m.Sealed, m.aad()); err != nil {
			return fmt.Errorf("the master secret %s: %w", m.ID, err)
		}
	}
	return nil
}

func resealed(ctx context.Context, from, to Sealer, sealed, aad []byte) ([]byte, error) {
	plain, err := from.Open(ctx, sealed, aad)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return to.Seal(ctx, plain, aad)
}
