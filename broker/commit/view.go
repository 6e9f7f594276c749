package commit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// view is the records that all users of one round of a batch share. Each is
// read once, and no step changes it.
type view struct {
	reader    *prefetched
	denylist  broker.Denylist
	floor     Floor
	floorRead bool
	timeFloor int64            // of the clock; only shards need it
	clients   map[string]int64 // epochs
}

func newView(r store.Reader, denylist broker.Denylist) *view {
	return &view{reader: prefetching(r), denylist: denylist, clients: map[string]int64{}}
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
		v.floor, v.floorRead = floor, true
	}
	return v.floor.Epoch, nil
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

// UserView is one user's records as a batch sees them: read once from the store, and then
// changed by the batch's own steps. It is for one round of one batch.
type UserView struct {
	*view
	uid string

	user        *session.User
	userRev     store.Revision
	userRead    bool
	userPut     bool
	removed     *session.User // before the removal
	sessions    map[string]*sessionSlot
	order       []string // sids in the order of their first write
	writing     int      // the writes of sessions
	marks       []Mark
	sessionList sessionList
}

type sessionSlot struct {
	session *session.Session
	rev     store.Revision
	expires int64 // of the record; zero unless it has to be written
}

// State returns the state on which a session of the user is judged. clientID is the client that the session is expected
// to have, whose record is then read together with the others; it may be empty.
func (v *UserView) State(ctx context.Context, sid, clientID string) (session.State, error) {
	expected := Message{UID: v.uid, SID: sid, ClientID: clientID}
	if err := v.reader.fetch(ctx, expected.addReads([]string{floorKey})...); err != nil {
		return session.State{}, fmt.Errorf("reading the session: %w", err)
	}
	return v.state(ctx, sid, clientID)
}

// StateOf is [UserView.State] for a session that was already read.
func (v *UserView) StateOf(ctx context.Context, s *session.Session) (session.State, error) {
	if err := v.reader.fetch(ctx, floorKey, directory.UserKey(v.uid), directory.ClientKey(s.ClientID)); err != nil {
		return session.State{}, fmt.Errorf("reading the user: %w", err)
	}
	st, err := v.userState(ctx)
	if err != nil {
		return session.State{}, err
	}
	return v.complete(ctx, st, s, "")
}

// state returns the state on which a message for sid is decided or, if sid is empty, a message for the user.
// clientID is the client of a session that does not exist yet.
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

// complete adds a session, which may be nil, to the state of its user and, to that of a dependent grant, its browser session.
func (v *UserView) complete(ctx context.Context, st session.State, s *session.Session, clientID string) (session.State, error) {
	if s != nil && s.Dependent() {
		var err error
		if st.Browser, err = v.browser(ctx, st, s.BrowserSID); err != nil {
			return session.State{}, err
		}
	}
	return v.ofClient(ctx, st, s, clientID)
}

// browser returns the state of a browser session of the user in st.
func (v *UserView) browser(ctx context.Context, st session.State, sid string) (*session.State, error) {
	slot, err := v.slot(ctx, sid)
	if err != nil {
		return nil, err
	}
	browser, err := v.ofClient(ctx, st, slot.session, "")
	browser.Browser = nil
	return &browser, err
}

// ofClient adds a session, which may be nil, and its client to the state of its user.
func (v *UserView) ofClient(ctx context.Context, st session.State, s *session.Session, clientID string) (session.State, error) {
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

// used reports whether any of marks exists, on disk or by an earlier message of this batch.
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

// apply applies the decision of a step.
func (v *UserView) apply(eff session.Effects, p session.Policy) error {
	if eff.PutUser != nil {
		v.user, v.userPut = eff.PutUser, true
	}
	if eff.RemoveUser {
		v.removed, v.user, v.userPut = v.user, nil, false
	}
	if eff.PutListed != nil {
		v.sessionList.sids, v.sessionList.put = eff.PutListed, true
		v.sessionList.expires = max(v.sessionList.expires, tombstoneEnd(eff.PutSession, p))
	}
	for _, ended := range eff.Ended {
		if err := v.putSession(ended, p); err != nil {
			return err
		}
	}
	for _, put := range []*session.Session{eff.PutBrowser, eff.PutSession} {
		if put == nil {
			continue
		}
		if err := v.putSession(put, p); err != nil {
			return err
		}
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
		v.writing++
		if slot.rev == 0 { // its sid also
			v.writing++
		}
	}
	slot.session, slot.expires = put, tombstoneEnd(put, p)
	if put.Ended != nil && put.SIDExpires != 0 {
		slot.expires = min(slot.expires, put.SIDExpires) // the sid needs no write
	}
	return nil
}

// endGrants ends the grants that end with the sessions of a decision that was applied, and adds them to it.
func (v *UserView) endGrants(ctx context.Context, now time.Time, p session.Policy, eff *session.Effects) error {
	if len(eff.EndGrants) == 0 {
		return nil
	}
	reads := make([]string, 0, len(eff.EndGrants))
	for _, sid := range eff.EndGrants {
		if v.sessions[sid] == nil {
			reads = append(reads, SessionKey(v.uid, sid))
		}
	}
	if err := v.reader.fetch(ctx, reads...); err != nil {
		return fmt.Errorf("reading the grants of a browser session: %w", err)
	}
	for _, sid := range eff.EndGrants {
		slot, err := v.slot(ctx, sid)
		if errors.Is(err, session.ErrRecord) { // a damaged session cannot be used
			continue
		}
		if err != nil {
			return err
		}
		st := session.State{User: v.user, Session: slot.session, TimeFloor: v.timeFloor}
		ended := session.Step(now, p, st, session.Revoke{Reason: eff.EndReason})
		if ended.PutSession == nil {
			continue
		}
		if err := v.putSession(ended.PutSession, p); err != nil {
			return err
		}
		eff.Ended, eff.Events = append(eff.Ended, ended.PutSession), append(eff.Events, ended.Events...)
	}
	return nil
}

// writes returns the writes of the change: the replay marks, the user, and then for each session its sid record, if
// that has to be kept longer, and the session.
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
			// The record never changes, so that no concurrent write can be lost.
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
	if !v.sessionList.put {
		return writes, nil
	}
	return v.putSessionList(writes)
}

// tombstoneEnd returns when the store may delete a session's record.
func tombstoneEnd(s *session.Session, p session.Policy) int64 {
	return s.AbsoluteEnd(p).Add(session.TombstoneLife).Unix()
}
