package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// userView is one user's records as a batch sees them: read once from the store, then
// as the batch's own steps changed them. It lives for one round of one batch.
type userView struct {
	*sharedView
	uid string

	user     *session.User
	userRev  store.Revision
	userRead bool
	userPut  bool
	removed  *session.User // as it was
	sessions map[string]*sessionSlot
	order    []string // sids in the order of their first write
	once     []onceKey
	listing  listing
}

type sessionSlot struct {
	session *session.Session
	rev     store.Revision
	expires int64 // of the record; non-zero once it is to be written
}

// newUserView is for one user alone.
func newUserView(r store.Reader, uid string) *userView { return newSharedView(r).user(uid) }

// state returns what a message for sid is decided on; with none, what one for the user is.
func (v *userView) state(ctx context.Context, sid, clientID string) (session.State, error) {
	floor, err := v.floorEpoch(ctx)
	if err != nil {
		return session.State{}, err
	}
	if err := v.readUser(ctx); err != nil {
		return session.State{}, err
	}
	if sid == "" {
		return session.State{User: v.user, Floor: floor, TimeFloor: v.timeFloor}, nil
	}
	slot, err := v.slot(ctx, sid)
	if err != nil {
		return session.State{}, err
	}
	if slot.session != nil {
		clientID = slot.session.ClientID
	}
	epoch, err := v.clientEpoch(ctx, clientID)
	if err != nil {
		return session.State{}, err
	}
	return session.State{User: v.user, Session: slot.session, Floor: floor, ClientEpoch: epoch, TimeFloor: v.timeFloor}, nil
}

// judged returns what a session that was read already is judged on.
func (v *userView) judged(ctx context.Context, s *session.Session) (session.State, error) {
	floor, err := v.floorEpoch(ctx)
	if err != nil {
		return session.State{}, err
	}
	if err := v.readUser(ctx); err != nil {
		return session.State{}, err
	}
	epoch, err := v.clientEpoch(ctx, s.ClientID)
	if err != nil {
		return session.State{}, err
	}
	return session.State{User: v.user, Session: s, Floor: floor, ClientEpoch: epoch}, nil
}

func (v *userView) readUser(ctx context.Context) error {
	if v.userRead {
		return nil
	}
	rec, err := v.reader.Get(ctx, userKey(v.uid))
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return fmt.Errorf("reading the user: %w", err)
	default:
		if v.user, err = session.DecodeUser(rec.Value); err != nil {
			return err
		}
		v.userRev = rec.Revision
	}
	v.userRead = true
	return nil
}

func (v *userView) slot(ctx context.Context, sid string) (*sessionSlot, error) {
	if slot, ok := v.sessions[sid]; ok {
		return slot, nil
	}
	slot := &sessionSlot{}
	rec, err := v.reader.Get(ctx, sessionKey(v.uid, sid))
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("reading the session: %w", err)
	default:
		if slot.session, err = session.DecodeSession(rec.Value); err != nil {
			return nil, err
		}
		slot.rev = rec.Revision
	}
	v.sessions[sid] = slot
	return slot, nil
}

// apply takes over what a step decided.
func (v *userView) apply(eff session.Effects, p session.Policy) error {
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

func (v *userView) putSession(put *session.Session, p session.Policy) error {
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

// used reports whether any of once was used before, on disk or earlier in this batch.
func (v *userView) used(ctx context.Context, once []onceKey) (bool, error) {
	for _, o := range once {
		if slices.Contains(v.once, o) {
			return true, nil
		}
		if found, err := o.exists(ctx, v.reader); err != nil || found {
			return found, err
		}
	}
	return false, nil
}

// writes is the change's writes: what is used up, the user, then for each session its sid record (when it
// is to be kept longer) before the session itself.
func (v *userView) writes(ctx context.Context) ([]store.Write, error) {
	var writes []store.Write
	for _, once := range v.once {
		write, err := once.write()
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
		write, err := putUser(v.user, v.userRev)
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
			value, err := json.Marshal(sidRecord{V: recordVersion, UID: v.uid, SID: sid})
			if err != nil {
				return nil, fmt.Errorf("encoding the sid: %w", err)
			}
			// What it says never changes, so that nobody's write can be lost.
			writes = append(writes, store.Write{Key: sidKey(sid), Value: value, Blind: slot.rev != 0, ExpiresAt: slot.expires})
		}
		value, err := record.Encode()
		if err != nil {
			return nil, fmt.Errorf("encoding the session: %w", err)
		}
		writes = append(writes, store.Write{
			Key: sessionKey(v.uid, sid), Value: value, Expect: slot.rev, ExpiresAt: slot.expires,
		})
	}
	return v.putListed(writes)
}

// sidRecord is the record sid.<sid>: whose session it is.
type sidRecord struct {
	V   int    `json:"v"`
	UID string `json:"uid"`
	SID string `json:"sid"`
}
