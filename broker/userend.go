package broker

import (
	"context"
	"fmt"

	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

// userEnd is a change of one user that ends the sessions and tokens made before it.
type userEnd struct {
	event  string // of the audit line
	uid    string
	reason revocation.Reason
	// writes gives what becomes of the user, whose epoch is raised already and which was read at
	// rev; none when there is nothing to do. It is asked anew after a conflict.
	writes func(user *session.User, rev store.Revision) ([]store.Write, error)
}

// endUser writes the user under a new epoch and its event as one change. A login or refresh
// under way at the same time meets a conflict and is decided anew, or is hit by the epoch.
func (b *Broker) endUser(ctx context.Context, end userEnd, req Request) (Revoked, error) {
	answer, seq, err := b.recordEnd(ctx, end, req)
	if err != nil {
		return Revoked{}, err
	}
	answer.Broadcast = b.broadcast(ctx, seq)
	return answer, nil
}

// recordEnd is endUser up to the disk.
func (b *Broker) recordEnd(ctx context.Context, end userEnd, req Request) (Revoked, uint64, error) {
	answer := Revoked{Kind: string(revocation.KindSub), Value: end.uid}
	seq, err := b.commitEpoch(ctx, false, func(drawn drawnEpoch) (*store.Change, error) {
		user, rev, err := b.userRevision(ctx, end.uid)
		if err != nil {
			return nil, err
		}
		if user == nil {
			return nil, errUnknownUser()
		}
		answer.Epoch, answer.Changed = user.Epoch, false
		user.Epoch = drawn.epoch
		writes, err := end.writes(user, rev)
		if err != nil || len(writes) == 0 {
			return nil, err
		}
		answer.Epoch, answer.Changed = drawn.epoch, true
		return &store.Change{
			Writes: writes,
			Events: []revocation.Event{drawn.event(revocation.KindSub, end.uid, end.reason)},
		}, nil
	})
	if err != nil {
		return Revoked{}, 0, b.internal(ctx, "ending a user's tokens", err)
	}
	b.audit(ctx, end.event, req, "uid", end.uid, "reason", string(end.reason), "changed", answer.Changed)
	return answer, seq, nil
}

// putUser writes the user as it is.
func putUser(user *session.User, rev store.Revision) ([]store.Write, error) {
	value, err := user.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding the user: %w", err)
	}
	return []store.Write{{Key: userKey(user.UID), Value: value, Expect: rev}}, nil
}
