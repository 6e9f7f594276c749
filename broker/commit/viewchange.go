package commit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// apply takes over what a step decided.
func (v *UserView) apply(eff session.Effects, p session.Policy) error {
	if eff.PutUser != nil {
		v.user, v.userPut = eff.PutUser, true
	}
	if eff.RemoveUser {
		v.removed, v.user, v.userPut = v.user, nil, false
	}
	if eff.PutListed != nil {
		v.listing.sids, v.listing.put = eff.PutListed, eff.PutSession.SID
	}
	for _, ended := range eff.Ended {
		if err := v.putSession(ended, p); err != nil {
			return err
		}
	}
	if eff.PutSession != nil {
		return v.putSession(eff.PutSession, p)
	}
	return nil
}

func (v *UserView) putSession(put *session.Session, p session.Policy) error {
	slot := v.sessions[put.SID]
	if slot == nil {
		return fmt.Errorf("session %q was written without being read", put.SID)
	}
	if slot.expires == 0 {
		v.order = append(v.order, put.SID)
	}
	slot.session, slot.expires = put, tombstoneEnd(put, p)
	return nil
}

// writes returns the change's writes: the replay marks, the user, then for each session its sid record (when it
// is to be kept longer) before the session itself.
func (v *UserView) writes(ctx context.Context) ([]store.Write, error) {
	var writes []store.Write
	for _, mark := range v.marks {
		write, err := mark.Write()
		if err != nil {
			return nil, err
		}
		writes = append(writes, write)
	}
	switch {
	case v.removed != nil:
		removal, err := v.removal(ctx)
		if err != nil {
			return nil, err
		}
		writes = append(writes, removal...)
	case v.userPut:
		write, err := directory.PutUser(v.user, v.userRev)
		if err != nil {
			return nil, err
		}
		writes = append(writes, write)
	}
	for _, sid := range v.order {
		slot := v.sessions[sid]
		record := *slot.session
		if slot.expires > record.SIDExpires { // new, or sessions may live longer than they could
			record.SIDExpires = slot.expires
			value, err := json.Marshal(sidRecord{V: directory.RecordVersion, UID: v.uid, SID: sid})
			if err != nil {
				return nil, fmt.Errorf("encoding the sid: %w", err)
			}
			// What it says never changes, so that nobody's write can be lost.
			writes = append(writes, store.Write{Key: SIDKey(sid), Value: value, Blind: slot.rev != 0, ExpiresAt: slot.expires})
		}
		value, err := record.Encode()
		if err != nil {
			return nil, fmt.Errorf("encoding the session: %w", err)
		}
		writes = append(writes, store.Write{
			Key: SessionKey(v.uid, sid), Value: value, Expect: slot.rev, ExpiresAt: slot.expires,
		})
	}
	return v.putListed(writes)
}

// removal deletes the removed user's record and what of the accounts leads to it.
func (v *UserView) removal(ctx context.Context) ([]store.Write, error) {
	if err := v.readListed(ctx); err != nil && !errors.Is(err, session.ErrRecord) {
		return nil, err
	}
	writes, err := directory.Removal(ctx, v.reader, v.removed, v.userRev)
	if v.listing.rev != 0 {
		writes = append(writes, store.Write{Key: listedKey(v.uid), Delete: true, Expect: v.listing.rev})
	}
	v.listing.put = "" // by a sign-in just before
	return writes, err
}

// termination is the end of the user's tokens. The user's record, which takes over the epoch,
// is written by it and no longer by the view.
func (v *UserView) termination(reason revocation.Reason, by string) *Termination {
	t := &Termination{Kind: revocation.KindSub, Value: v.uid, Reason: reason, By: by}
	if !v.userPut { // removed: there is no record
		return t
	}
	user, rev := *v.user, v.userRev
	v.userPut = false
	t.Writes = func(_ context.Context, epoch int64) ([]store.Write, error) {
		under := user
		under.Epoch = epoch
		write, err := directory.PutUser(&under, rev)
		return []store.Write{write}, err
	}
	return t
}

// tombstoneEnd is when the store may forget a session.
func tombstoneEnd(s *session.Session, p session.Policy) int64 {
	return s.AbsoluteEnd(p).Add(session.TombstoneLife).Unix()
}
