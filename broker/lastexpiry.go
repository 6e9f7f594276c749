package broker

import (
	"context"
	"time"

	"tokenbroker/store"
)

// LastExpiry returns the largest exp of all access tokens that were ever signed with that
// store, or one up to [expReserve] seconds after it; zero if there was none. It is on disk
// before a token with that exp is signed.
func LastExpiry(ctx context.Context, r store.Reader) (time.Time, error) {
	floor, _, err := readFloor(ctx, r)
	if err != nil || floor.MaxExp == 0 {
		return time.Time{}, err
	}
	return time.Unix(floor.MaxExp, 0), nil
}
