package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/store"
)

// keyRevoker implements [broker.Keys] by the keyring.
type keyRevoker struct{ keys *keyring.Keyring }

var _ broker.Keys = keyRevoker{}

// Compromise implements [broker.Keys].
func (k keyRevoker) Compromise(ctx context.Context, kid string) (broker.CompromisedKey, error) {
	done, err := k.keys.Compromise(ctx, kid)
	switch {
	case errors.Is(err, lifecycle.ErrUnknownKey):
		return broker.CompromisedKey{}, &broker.Error{Code: broker.CodeUnknownKey, Message: "No key has this id. A master secret cannot be revoked: rotate it.", Err: err}
	case err != nil:
		return broker.CompromisedKey{}, err
	}
	key := broker.CompromisedKey{Purpose: string(done.Key.Purpose), Algorithm: string(done.Key.Algorithm), Changed: done.Changed}
	if done.Successor.State == lifecycle.StateActive {
		key.Successor = done.Successor.KID
	}
	return key, nil
}

// operatorKeys implements [admin.Keys] by the keyring.
type operatorKeys struct{ *Node }

var _ admin.Keys = operatorKeys{}

// ListKeys implements [admin.Keys]. The keys are sorted by purpose, then by state, the newest first.
func (o operatorKeys) ListKeys(context.Context) (admin.KeyList, error) {
	list := admin.KeyList{Now: o.ledger.Now().UTC(), Keys: o.keys.List()}
	if o.cfg.RotateEvery > 0 {
		list.RotateEvery = o.cfg.RotateEvery.String()
	}
	states := []lifecycle.State{lifecycle.StateActive, lifecycle.StateNext, lifecycle.StateRetiring, lifecycle.StateCompromised, lifecycle.StateRetired}
	slices.SortStableFunc(list.Keys, func(a, b lifecycle.KeyInfo) int {
		return cmp.Or(cmp.Compare(a.Purpose, b.Purpose), cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State)), b.Created.Compare(a.Created))
	})
	if status := o.keys.Status(); len(status.Overdue) > 0 {
		list.Overdue = &admin.KeyOverdue{Purposes: []string{}, Since: status.Since, OldKeyUntil: status.OldKeyUntil}
		for _, p := range status.Overdue {
			list.Overdue.Purposes = append(list.Overdue.Purposes, string(p))
		}
	}
	return list, nil
}

// RotateKey implements [admin.Keys].
func (o operatorKeys) RotateKey(ctx context.Context, rotation admin.KeyRotation, req broker.Request) (lifecycle.Rotation, error) {
	done, err := o.keys.Rotate(ctx, lifecycle.Purpose(rotation.Purpose), lifecycle.Algorithm(rotation.Algorithm))
	switch {
	case errors.Is(err, lifecycle.ErrClockBehind):
		return lifecycle.Rotation{}, &broker.Error{Code: broker.CodeUnavailable, Message: "The clock is behind the keys' own times: set it right, or, if it was ahead when they were made, revoke them (docs/keys.md). The present keys sign on.", Err: err}
	case errors.Is(err, lifecycle.ErrTooManyMasters):
		return lifecycle.Rotation{}, &broker.Error{Code: httpapi.CodeInvalidRotation, Message: "Too many master secrets are still accepted: wait until the oldest is dropped.", Err: err}
	case err != nil:
		return lifecycle.Rotation{}, refusedWrite(err)
	}
	o.audit("key_rotate", req, "purpose", rotation.Purpose, "kid", done.Active.KID, "next", done.Next.KID,
		"signs", done.Signs, "scheduled", done.Scheduled, "changed", done.Changed)
	return done, nil
}

// ResealKeys implements [admin.Keys].
func (o operatorKeys) ResealKeys(ctx context.Context, kekFile string, req broker.Request) (admin.KeysResealed, error) {
	if o.cluster != nil {
		return admin.KeysResealed{}, invalidKEK("the keyring of several brokers cannot be sealed under another KEK while they run", nil)
	}
	o.kek.mu.Lock()
	defer o.kek.mu.Unlock()
	reseal := func(kek keyring.KEK) error {
		sealer, err := keyring.NewAESGCM(kek)
		if err != nil {
			return err
		}
		backups, err := keyring.NewBackupSealer(kek)
		if err != nil {
			return err
		}
		if err := o.keys.RotateKEK(ctx, sealer); err != nil {
			return err
		}
		o.kek.backups = backups
		return nil
	}
	var done admin.KeysResealed
	var err error
	if kekFile == "" {
		done, err = o.resealOwn(reseal)
	} else {
		done, err = o.resealBy(kekFile, req, reseal)
	}
	if err != nil {
		return admin.KeysResealed{}, refusedWrite(err)
	}
	o.audit("keyring_reseal", req, "kek_file", done.KEKFile)
	return done, nil
}

// resealOwn replaces the server's own KEK.
func (o operatorKeys) resealOwn(reseal func(keyring.KEK) error) (admin.KeysResealed, error) {
	if o.kek.own == nil {
		return admin.KeysResealed{}, invalidKEK(fmt.Sprintf("the KEK is not the server's own: it comes from %s; name the file with the new one", o.kek.named), nil)
	}
	if err := o.kek.own.replace(reseal); err != nil {
		return admin.KeysResealed{}, err
	}
	return admin.KeysResealed{KEKFile: o.kek.own.path}, nil
}

// resealBy seals the keyring under the KEK of a file that the operator keeps.
func (o operatorKeys) resealBy(path string, req broker.Request, reseal func(keyring.KEK) error) (admin.KeysResealed, error) {
	own := ownKEK{path: KEKFile(o.cfg.DataDir)}
	switch clean := filepath.Clean(path); {
	case !filepath.IsAbs(path):
		return admin.KeysResealed{}, invalidKEK("kek_file has to be an absolute path on the server's machine", nil)
	case clean == own.path || clean == own.next():
		return admin.KeysResealed{}, invalidKEK("that is the server's own file: leave kek_file out to have it replaced", nil)
	}
	kek, err := keyring.LoadKEKFile(path)
	if err != nil {
		// The answer is the same for every file: it must not reveal which files exist on this
		// machine, their owners or their modes. The answer refers to the log, so the line is written at
		// every log level.
		o.cfg.Logger.Error("the file of a reseal cannot be used as a KEK", "kek_file", path, "request_id", req.ID, "error", err)
		return admin.KeysResealed{}, invalidKEK("that file cannot be used as a KEK: the server's log says why", err)
	}
	if err := reseal(kek); err != nil {
		return admin.KeysResealed{}, err
	}
	todo := fmt.Sprintf("set keyring.kek_file to %s; until now the KEK came from %s, which opens nothing any more but older backups", path, o.kek.named)
	o.kek.own, o.kek.named = nil, path
	return admin.KeysResealed{KEKFile: path, Todo: todo}, nil
}

func invalidKEK(detail string, err error) error {
	return &broker.Error{Code: httpapi.CodeInvalidKEK, Message: detail, Err: err}
}

// refusedWrite returns CodeWritesRefused for a store that is read-only, and any other error unchanged.
func refusedWrite(err error) error {
	var app *broker.Error
	if errors.Is(err, store.ErrReadOnly) && !errors.As(err, &app) {
		return &broker.Error{Code: broker.CodeWritesRefused, Message: "Writes are refused for now; the present keys sign on.", Err: err}
	}
	return err
}

// audit writes the audit line of an operator's change of the keyring.
func (o operatorKeys) audit(event string, req broker.Request, attrs ...any) {
	broker.Audit{Logger: o.cfg.Audit}.Info(context.Background(), event, req, attrs...)
}
