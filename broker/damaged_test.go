package broker_test

import (
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/store"
)

// put writes a record as it is, whatever was there.
func (h *harness) put(t *testing.T, key, value string) {
	t.Helper()
	if errs := h.store.Commit(t.Context(), []store.Change{{Writes: []store.Write{{Key: key, Value: []byte(value), Blind: true}}}}, nil); errs[0] != nil {
		t.Fatal(errs)
	}
}

func TestADamagedRecordHidesNoOthersFromAList(t *testing.T) {
	h := start(t)
	if _, err := h.AddUser(t.Context(), broker.NewUser{Username: "bob", Password: "a pass phrase"}, operator); err != nil {
		t.Fatal(err)
	}
	lost, err := h.SignIn(t.Context(), "bob", "a pass phrase", request)
	if err != nil {
		t.Fatal(err)
	}
	live, damaged := h.signIn(t), h.signIn(t)
	first, newer := strings.Repeat("2", 26), strings.Repeat("z", 26)
	h.put(t, "user."+first, `{"v":1`)
	h.put(t, "user."+newer, `{"v":2,"uid":"`+newer+`"}`)
	h.put(t, "user."+lost.UID, `damaged`)
	h.put(t, "session."+damaged.UID+"."+damaged.SID, `[]`)

	users, err := h.ListUsers(t.Context(), broker.UserQuery{})
	if err != nil || len(users.Users) != 1 || users.Users[0].Username != "ada" || users.Unreadable != 3 || users.Next != "" {
		t.Errorf("%+v, %v", users, err)
	}
	for _, key := range []string{first, newer, lost.UID} {
		if !strings.Contains(h.log.String(), "user."+key) {
			t.Errorf("the log does not name %s", key)
		}
	}
	sessions, err := h.ListSessions(t.Context(), broker.SessionQuery{Ended: true})
	if err != nil || len(sessions.Sessions) != 1 || sessions.Sessions[0].SID != live.SID || sessions.Unreadable != 2 {
		t.Errorf("%+v, %v", sessions, err)
	}
	if n := strings.Count(h.log.String(), "stored records cannot be read"); n != 2 || strings.Count(h.log.String(), "level=ERROR") != 2 {
		t.Errorf("%d lines of two pages: %s", n, h.log)
	}
	h.put(t, "client.demo-spa", "damaged")
	if sessions, err = h.ListSessions(t.Context(), broker.SessionQuery{}); err != nil || sessions.Unreadable != 3 {
		t.Errorf("%+v, %v", sessions, err)
	}
	h.put(t, "floor", "damaged")
	_, err = h.ListSessions(t.Context(), broker.SessionQuery{})
	wantCode(t, err, broker.CodeInternal)
}
