package broker

import (
	"context"

	"tokenbroker/store"
)

// sharedView is what the users of one round of a batch have in common: each record of it is
// read once, and no step changes it.
type sharedView struct {
	reader    store.Reader
	floor     int64
	floorRead bool
	timeFloor int64            // of the clock, where something may be ended
	clients   map[string]int64 // epochs
}

func newSharedView(r store.Reader) *sharedView {
	return &sharedView{reader: r, clients: map[string]int64{}}
}

// user is the view of one user's records beside it.
func (v *sharedView) user(uid string) *userView {
	return &userView{sharedView: v, uid: uid, sessions: map[string]*sessionSlot{}}
}

func (v *sharedView) floorEpoch(ctx context.Context) (int64, error) {
	if !v.floorRead {
		floor, _, err := readFloor(ctx, v.reader)
		if err != nil {
			return 0, err
		}
		v.floor, v.floorRead = floor.Epoch, true
	}
	return v.floor, nil
}

func (v *sharedView) clientEpoch(ctx context.Context, id string) (int64, error) {
	if epoch, ok := v.clients[id]; ok {
		return epoch, nil
	}
	client, _, err := readClient(ctx, v.reader, id)
	if err != nil {
		return 0, err
	}
	v.clients[id] = client.Epoch
	return client.Epoch, nil
}
