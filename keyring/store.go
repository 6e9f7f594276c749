package keyring

import (
	"context"
	"errors"
)

var (
	// ErrEmpty is what a [Store] returns from Load while there is no record.
	ErrEmpty = errors.New("keyring: no record in the store")
	// ErrConflict is what a [Store] returns from CompareAndSwap when the record is no
	// longer the one that was loaded.
	ErrConflict = errors.New("keyring: the record was changed meanwhile")
	// ErrCorrupt is in the chain of every error about a record that cannot be what this
	// package wrote: truncated, tampered with, entries swapped. There is no repair but a
	// backup; the record is never replaced by a new one on its own.
	ErrCorrupt = errors.New("keyring: record damaged")
	// ErrUnknownAlgorithm is in the chain of an error about an algorithm that is not one
	// of the allow-list.
	ErrUnknownAlgorithm = errors.New("keyring: unknown algorithm")
	// ErrUnknownKey says that there never was a key of that id.
	ErrUnknownKey = errors.New("keyring: no such key")
	// ErrClockBehind says that the clock is behind the making or the activation of a key:
	// nothing is rotated by such a clock, the present keys sign on.
	ErrClockBehind = errors.New("keyring: the clock is behind the keys")
	// ErrTooManyMasters says that the master secret was rotated so often that the old ones,
	// which are still accepted, are too many to try a refresh token with.
	ErrTooManyMasters = errors.New("keyring: too many master secrets are still accepted")
)

// Store is where the one record lives: the port that an engine's adapter implements.
type Store interface {
	// Load returns the record and its revision. Without a record the error is [ErrEmpty],
	// and rev is what CompareAndSwap wants for the first one.
	Load(ctx context.Context) (data []byte, rev uint64, err error)
	// CompareAndSwap replaces the record durably if its revision still is rev, else the
	// error is [ErrConflict]. It does not keep data.
	CompareAndSwap(ctx context.Context, data []byte, rev uint64) error
}
