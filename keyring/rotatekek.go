package keyring

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/keyring/lifecycle"
)

// RotateKEK seals everything under another key encryption key, in one compare-and-set: the
// record opens completely under the old one or completely under the new one, whenever the process
// ends. When RotateKEK returns nil the new sealer is in use, and only then may the old KEK be
// removed. A record that is sealed under the new KEK already is used as it is, so that RotateKEK
// can be repeated.
//
// After an error the record may be under either KEK: keep both and repeat the call. Other brokers
// of the store continue with what they have until they are given the new KEK.
func (k *Keyring) RotateKEK(ctx context.Context, sealer Sealer) error {
	if sealer == nil {
		return errors.New("resealing the keyring: a sealer is required")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for range changeTries {
		err := k.rotateKEKOnce(ctx, sealer)
		if err == nil {
			k.report(ctx, []lifecycle.Change{{What: lifecycle.ChangeResealed, At: k.cfg.Now().UTC()}})
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("resealing the keyring: %w", err)
		}
	}
	return fmt.Errorf("resealing the keyring: %w, %d times in a row", ErrConflict, changeTries)
}

func (k *Keyring) rotateKEKOnce(ctx context.Context, sealer Sealer) error {
	data, rev, err := k.cfg.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("loading the record: %w", err)
	}
	rec, err := decodeRecord(ctx, k.sealer, data)
	if errors.Is(err, ErrWrongKEK) {
		// It may be sealed under the new KEK already.
		s, err := k.open(ctx, sealer, data, rev)
		if err == nil {
			k.adoptSealed(s, sealer)
		}
		return err
	}
	if err != nil {
		return err
	}
	if rec, err = rec.reseal(ctx, k.sealer, sealer); err != nil {
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
			k.newSealer = sealer // the record may have been stored nevertheless
		}
		return err
	}
	k.adoptSealed(s, sealer)
	return nil
}

func (k *Keyring) adoptSealed(s *snapshot, sealer Sealer) {
	k.sealer, k.newSealer = sealer, nil
	k.adopt(s)
}
