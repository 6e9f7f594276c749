package broker

import (
	"context"
	"fmt"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// endUser has the user's shard decide a change that ends the sessions and tokens made before
// it: the shard orders it among the user's sign-ins and refreshes.
func (b *Broker) endUser(ctx context.Context, event, uid string, msg session.Message, req Request) (Revoked, error) {
	tell := b.telling(ctx, req)
	defer tell.done()
	answer, seq, err := b.recordEnd(ctx, event, uid, msg, req)
	if err != nil {
		return Revoked{}, err
	}
	return tell.revoked(ctx, answer, seq), nil
}

// recordEnd is endUser up to the disk; seq is zero when there was nothing to do.
func (b *Broker) recordEnd(ctx context.Context, event, uid string, msg session.Message, req Request) (answer Revoked, seq uint64, err error) {
	result, err := b.changeUser(ctx, uid, msg, req.Operator)
	if err != nil {
		return Revoked{}, 0, err
	}
	eff := result.effects
	answer = Revoked{Kind: string(revocation.KindSub), Value: uid, Epoch: result.epoch, Changed: eff.EndTokens != ""}
	if !answer.Changed {
		answer.Epoch = eff.User.Epoch
	}
	b.audit(ctx, event, req, "uid", uid, "reason", string(eff.EndTokens), "changed", answer.Changed)
	return answer, result.seq, nil
}

// changeUser has the user's shard decide a change of the user. Errors: CodeUnknownUser.
func (b *Broker) changeUser(ctx context.Context, uid string, msg session.Message, by string) (shardResult, error) {
	result, err := b.ask(ctx, shardMessage{uid: uid, message: msg, by: by})
	if err == nil && result.effects.Refusal != "" {
		err = errUnknownUser()
	}
	return result, err
}

// ending is the end of the user's tokens. The user's record, which takes over the epoch,
// is written by it and no longer by the view.
func (v *userView) ending(reason revocation.Reason, by string) *ending {
	e := &ending{kind: revocation.KindSub, value: v.uid, reason: reason, by: by}
	if !v.userPut { // removed: there is no record
		return e
	}
	user, rev := *v.user, v.userRev
	v.userPut = false
	e.writes = func(_ context.Context, epoch int64) ([]store.Write, error) {
		under := user
		under.Epoch = epoch
		write, err := putUser(&under, rev)
		return []store.Write{write}, err
	}
	return e
}

// putUser writes the user as it is.
func putUser(user *session.User, rev store.Revision) (store.Write, error) {
	value, err := user.Encode()
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding the user: %w", err)
	}
	return store.Write{Key: userKey(user.UID), Value: value, Expect: rev}, nil
}
