package origins

import (
	"context"
	"errors"
	"time"

	"tokenbroker/store"
)

// create writes the record of a new origin. It never sends the same record twice: after a lost answer it looks whether
// the record is there, and otherwise takes another id. A record that still arrives later is ended as that of
// a broker that does not run. With the record of a broker it writes that of the version of the store, see raise.
func (r *Run) create(ctx context.Context, joined uint64) (Origin, error) {
	now := r.config.Wall().UnixMilli()
	own := Origin{Record: r.stamp(Record{
		Joined: joined, SinceMS: now, Name: r.config.Name, Address: r.config.Address, Build: r.config.Build,
		KEK: r.config.KEK, Issuer: r.config.Issuer, AccessS: wholeSeconds(r.config.AccessLife), Speaks: r.config.Speaks,
	})}
	for {
		version, err := r.checkVersion(ctx)
		if err != nil {
			return own, err
		}
		r.setVersion(version.MinReader)
		own.ID, own.V = newID(), version.MinReader
		change := store.Change{Writes: []store.Write{{Key: Key(own.ID), Value: own.Encode()}}}
		if r.config.Maintenance == "" {
			change.Writes = append(change.Writes, version.write())
		}
		_, errs := r.engine.CommitFenced(ctx, store.Fence{}, []store.Change{change}, nil)
		switch err := errs[0]; {
		case errors.Is(err, store.ErrConflict): // another broker has joined or raised the version
			continue
		case err != nil && !errors.Is(err, store.ErrUncertain):
			return own, err
		}
		stored, err := r.readAgain(ctx, own.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && stored.Ended {
			r.config.Logger.Warn("the record of a new origin is missing or has ended; taking another", "origin", own.ID)
			continue
		}
		if err != nil {
			return stored, err
		}
		// A program that has taken the store since admit has not seen the record, or waits until it has ended.
		m, err := r.maintenance(ctx)
		if err == nil && m.Run != r.program {
			err = r.overtaken()
		}
		if err != nil {
			r.writeAlone(ctx, stored.end())
		}
		return stored, err
	}
}

// wholeSeconds returns d in seconds, rounded up.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// readAgain reads the record of an origin, again after a failure until ctx ends.
func (r *Run) readAgain(ctx context.Context, origin string) (Origin, error) {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		own, err := readRecord(ctx, r, origin)
		if err == nil || errors.Is(err, store.ErrNotFound) {
			return own, err
		}
		if stopped := r.config.Sleep(ctx, wait); stopped != nil {
			return own, errors.Join(stopped, err)
		}
	}
}
