package origins

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/store"
)

// Version is the lowest version of the records that this program can use, and newest the highest. A later program that
// writes records in a form that this one cannot read has a higher newest, and still reads every form that was ever written.
const Version = 1

// VersionKey is the key of the record with the version of the store.
const VersionKey = "cluster"

// StoreVersion is the version of a store. Every broker of the store writes its records in the form of that version, and only
// programs that can use it start. It rises when all live brokers can use a higher one, and never falls.
//
// Its record, those of origins and that of a maintenance are read by programs of all versions: later versions may add members to them,
// but neither remove nor redefine one.
type StoreVersion struct {
	V int `json:"v"`
	// MinReader is the version. A store without a record has version 1.
	MinReader int `json:"min_reader"`
	// Build is the program that raised the version, empty for version 1.
	Build    string         `json:"build,omitempty"`
	revision store.Revision // zero without a record
}

// DecodeVersion decodes the record of [VersionKey]. A record with revision zero is a missing one.
func DecodeVersion(stored store.Record) (StoreVersion, error) {
	if stored.Revision == 0 && stored.Value == nil {
		return StoreVersion{V: 1, MinReader: 1}, nil
	}
	v := StoreVersion{revision: stored.Revision}
	if err := json.Unmarshal(stored.Value, &v); err != nil {
		return v, fmt.Errorf("reading %s: %w", stored.Key, err)
	}
	if v.V < 1 || v.MinReader < 1 {
		return v, fmt.Errorf("reading %s: version %d", stored.Key, v.MinReader)
	}
	return v, nil
}

// ReadVersion reads the version of the store.
func ReadVersion(ctx context.Context, from store.Reader) (StoreVersion, error) {
	stored, err := from.Get(ctx, VersionKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return StoreVersion{}, err
	}
	return DecodeVersion(stored)
}

// Check returns [ErrStoreVersion] if a program that speaks the versions from speaks[0] to speaks[1] cannot use the store. If
// speaks is zero, it is that of this program.
func (v StoreVersion) Check(speaks [2]int) error {
	switch speaks = orOwn(speaks); {
	case v.MinReader > speaks[1]:
		return fmt.Errorf("%w: the store has version %d, raised by %q, and this program is older and can use at most %d: start that program or a later one; to go back, restore a backup from before the upgrade",
			ErrStoreVersion, v.MinReader, v.Build, speaks[1])
	case v.MinReader < speaks[0]:
		return fmt.Errorf("%w: the store has version %d, and this program can use only %d and later: start an earlier release once, which raises the version",
			ErrStoreVersion, v.MinReader, speaks[0])
	}
	return nil
}

// orOwn returns speaks, or the versions of this program if it is zero.
func orOwn(speaks [2]int) [2]int { return cmp.Or(speaks, [2]int{Version, newest}) }

// write returns the write of the record, unless it has changed.
func (v StoreVersion) write() store.Write {
	value, err := json.Marshal(v)
	if err != nil { // a plain struct
		panic("encoding the version of a store: " + err.Error())
	}
	return store.Write{Key: VersionKey, Value: value, Expect: v.revision}
}

// raised returns the record of a store whose version a program of that build has raised.
func (v StoreVersion) raised(to int, build string) StoreVersion {
	v.MinReader, v.Build = to, build
	return v
}

// RaiseAlone checks the version of a store that has only one broker, and raises it to the highest that the program speaks. If
// speaks is zero, it is that of this program.
func RaiseAlone(ctx context.Context, s store.Store, speaks [2]int, build string) (version int, err error) {
	v, err := ReadVersion(ctx, s)
	if err == nil {
		err = v.Check(speaks)
	}
	if speaks = orOwn(speaks); err == nil && v.MinReader < speaks[1] {
		v = v.raised(speaks[1], build)
		err = s.Commit(ctx, []store.Change{{Writes: []store.Write{v.write()}}}, nil)[0]
	}
	return v.MinReader, err
}

// Version returns the version of the store, in whose form records are written.
func (r *Run) Version() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version
}

func (r *Run) setVersion(v int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version = v
}

// checkVersion reads the version of the store and checks that this program can use it.
func (r *Run) checkVersion(ctx context.Context) (StoreVersion, error) {
	v, err := ReadVersion(ctx, r)
	if err == nil {
		err = v.Check(r.config.Speaks)
	}
	return v, err
}

// raise raises the version of the store if all live brokers speak a higher one than found.
//
// It reads the version before the origins. Each broker that joins writes the record of the version in the commit that creates its
// origin, and raise expects that record unchanged. So a broker that joins after the origins were read makes the raise fail, and a
// raise makes the creation fail of a broker that has read the version before it.
func (r *Run) raise(ctx context.Context, found *View) error {
	if spoken(found.Live()) <= found.Version.MinReader {
		return nil
	}
	v, err := ReadVersion(ctx, r)
	if err != nil {
		return err
	}
	all, err := List(ctx, r)
	if err != nil {
		return err
	}
	to := spoken(slices.DeleteFunc(all, func(o Origin) bool { return o.Ended }))
	if to <= v.MinReader {
		return nil
	}
	err = r.Commit(ctx, []store.Change{{Writes: []store.Write{v.raised(to, r.config.Build).write()}}}, nil)[0]
	if errors.Is(err, store.ErrConflict) { // the next tick looks again
		return nil
	}
	if err == nil {
		r.setVersion(to)
		r.config.Logger.Info("raised the version of the store: all brokers can use it, and older programs no longer start", "version", to)
	}
	return err
}

// spoken returns the highest version that all origins speak, zero if there are none.
func spoken(all []Origin) int {
	if len(all) == 0 {
		return 0
	}
	return slices.MinFunc(all, func(a, b Origin) int { return cmp.Compare(a.Speaks[1], b.Speaks[1]) }).Speaks[1]
}
