package commit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// view is what the users of one round of a batch have in common: each record of it is
// read once, and no step changes it.
type view struct {
	reader    store.Reader
	denylist  broker.Denylist
	floor     int64
	floorRead bool
	timeFloor int64            // of the clock, where sessions may be ended
	clients   map[string]int64 // epochs
}

func newView(r store.Reader, denylist broker.Denylist) *view {
	return &view{reader: r, denylist: denylist, clients: map[string]int64{}}
}

// user returns the view of one user's records.
func (v *view) user(uid string) *UserView {
	return &UserView{view: v, uid: uid, sessions: map[string]*sessionSlot{}}
}

func (v *view) floorEpoch(ctx context.Context) (int64, error) {
	if !v.floorRead {
		floor, _, err := ReadFloor(ctx, v.reader)
		if err != nil {
			return 0, err
		}
		v.floor, v.floorRead = floor.Epoch, true
	}
	return v.floor, nil
}

func (v *view) clientEpoch(ctx context.Context, id string) (int64, error) {
	if epoch, ok := v.clients[id]; ok {
		return epoch, nil
	}
	client, _, err := directory.ReadClient(ctx, v.reader, id)
	if err != nil {
		return 0, err
	}
	v.clients[id] = client.Epoch
	return client.Epoch, nil
}

// UserView is one user's records as a batch sees them: read once from the store, then
// as the batch's own steps changed them. It lives for one round of one batch.
type UserView struct {
	*view
	uid string

	user     *session.User
	userRev  store.Revision
	userRead bool
	userPut  bool
	removed  *session.User // as it was
	sessions map[string]*sessionSlot
	order    []string // sids in the order of their first write
	marks    []Mark
	listing  listing
}

type sessionSlot struct {
	session *session.Session
	rev     store.Revision
	expires int64 // of the record; non-zero once it is to be written
}

// State returns what a session of the user is judged on.
func (v *UserView) State(ctx context.Context, sid string) (session.State, error) {
	return v.state(ctx, sid, "")
}

// StateOf returns what a session of the user that was already read is judged on.
func (v *UserView) StateOf(ctx context.Context, s *session.Session) (session.State, error) {
	st, err := v.userState(ctx)
	if err != nil {
		return session.State{}, err
	}
	return v.complete(ctx, st, s, "")
}

// state returns what a message for sid is decided on; with an empty sid, what one for the user is. An
// Open names the client of its session, which does not exist yet.
func (v *UserView) state(ctx context.Context, sid, clientID string) (session.State, error) {
	st, err := v.userState(ctx)
	if err != nil || sid == "" {
		return st, err
	}
	slot, err := v.slot(ctx, sid)
	if err != nil {
		return session.State{}, err
	}
	return v.complete(ctx, st, slot.session, clientID)
}

func (v *UserView) userState(ctx context.Context) (session.State, error) {
	floor, err := v.floorEpoch(ctx)
	if err != nil {
		return session.State{}, err
	}
	if err := v.readUser(ctx); err != nil {
		return session.State{}, err
	}
	return session.State{User: v.user, Floor: floor, TimeFloor: v.timeFloor}, nil
}

// complete adds what is known of the session, which may be nil, to the state of its user.
func (v *UserView) complete(ctx context.Context, st session.State, s *session.Session, clientID string) (session.State, error) {
	if s != nil {
		clientID = s.ClientID
		st.Denylisted = v.denylist.Revoked(revocation.Subject{SID: s.SID, Sub: s.UID, ClientID: s.ClientID, SEP: s.SEP, CEP: s.CEP})
	}
	epoch, err := v.clientEpoch(ctx, clientID)
	if err != nil {
		return session.State{}, err
	}
	st.Session, st.ClientEpoch = s, epoch
	return st, nil
}

func (v *UserView) readUser(ctx context.Context) error {
	if v.userRead {
		return nil
	}
	rec, err := v.reader.Get(ctx, directory.UserKey(v.uid))
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

func (v *UserView) slot(ctx context.Context, sid string) (*sessionSlot, error) {
	if slot, ok := v.sessions[sid]; ok {
		return slot, nil
	}
	slot := &sessionSlot{}
	rec, err := v.reader.Get(ctx, SessionKey(v.uid, sid))
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

// used reports whether any of marks was made before, on disk or earlier in this batch.
func (v *UserView) used(ctx context.Context, marks []Mark) (bool, error) {
	for _, m := range marks {
		if slices.Contains(v.marks, m) {
			return true, nil
		}
		if found, err := m.Exists(ctx, v.reader); err != nil || found {
			return found, err
		}
	}
	return false, nil
}
