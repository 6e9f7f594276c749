package commit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// expReserve is how far, in seconds, the recorded largest exp is ahead of the signed one,
// so that the floor is written about once a minute and not in every commit.
const expReserve = 64

const floorKey = "floor"

// Floor is the record floor.
type Floor struct {
	V int `json:"v"`
	// Epoch ends every session and token with a lower one.
	Epoch int64 `json:"epoch"`
	// Last is the last epoch that was drawn.
	Last int64 `json:"last"`
	// MaxExp (Unix s) is at least the exp of every token ever signed.
	MaxExp int64 `json:"max_exp"`
}

// ReadFloor returns the floor record. Without a record, it is the zero floor.
func ReadFloor(ctx context.Context, r store.Reader) (Floor, store.Revision, error) {
	var floor Floor
	rev, err := directory.ReadRecord(ctx, r, "the floor", floorKey, &floor, &floor.V)
	switch {
	case err != nil:
		return Floor{}, 0, err
	case rev == 0:
		return Floor{V: directory.RecordVersion}, 0, nil
	}
	return floor, rev, nil
}

// Write returns the write of the floor record, whose revision is rev.
func (f Floor) Write(rev store.Revision) (store.Write, error) {
	value, err := json.Marshal(f)
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding the floor: %w", err)
	}
	return store.Write{Key: floorKey, Value: value, Expect: rev}, nil
}

// NextEpoch returns the floor after the next epoch was drawn: its Last, and with [revocation.KindAll] also
// its Epoch. The new epoch is above every one ever drawn, regardless of the clock.
func (f Floor) NextEpoch(now time.Time, kind revocation.Kind) Floor {
	f.Last = max(f.Last+1, now.UnixMilli())
	if kind == revocation.KindAll {
		f.Epoch = f.Last
	}
	return f
}

// EventExpiry returns when the last signed token has expired by every clock (Unix s).
func (f Floor) EventExpiry(now time.Time, accessLife time.Duration) int64 {
	// A refresh that was decided before now may be committed later. Its exp is not on
	// record yet, but is no later than a token's life from now.
	exp := max(f.MaxExp, now.Add(accessLife).Unix())
	return exp + int64(session.EventMargin/time.Second)
}

// LastExpiry returns a time no earlier than the largest exp of all access tokens that were ever signed with that
// store, and at most expReserve seconds after it; the zero time if no token was signed. It is on disk
// before a token with that exp is signed.
func LastExpiry(ctx context.Context, r store.Reader) (time.Time, error) {
	floor, _, err := ReadFloor(ctx, r)
	if err != nil || floor.MaxExp == 0 {
		return time.Time{}, err
	}
	return time.Unix(floor.MaxExp, 0), nil
}
