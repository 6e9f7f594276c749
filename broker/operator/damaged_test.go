package operator_test

import (
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
)

func TestADamagedRecordHidesNoOtherInAList(t *testing.T) {
	h := brokertest.Start(t)
	if _, err := h.AddUser(t.Context(), operator.NewUser{Username: "bob", Password: "a pass phrase"}, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	lost, err := h.SignIn(t.Context(), "bob", "a pass phrase", brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	live, damaged := h.MustSignIn(t), h.MustSignIn(t)
	first, newer := strings.Repeat("2", 26), strings.Repeat("z", 26)
	h.Put(t, "user."+first, `{"v":1`)
	h.Put(t, "user."+newer, `{"v":2,"uid":"`+newer+`"}`)
	h.Put(t, "user."+lost.UID, `damaged`)
	h.Put(t, "session."+damaged.UID+"."+damaged.SID, `[]`)

	users, err := h.ListUsers(t.Context(), operator.UserQuery{})
	if err != nil || len(users.Users) != 1 || users.Users[0].Username != "ada" || users.Unreadable != 3 || users.Next != "" {
		t.Errorf("%+v, %v", users, err)
	}
	for _, key := range []string{first, newer, lost.UID} {
		if !strings.Contains(h.Log.String(), "user."+key) {
			t.Errorf("the log does not name %s", key)
		}
	}
	sessions, err := h.ListSessions(t.Context(), operator.SessionQuery{Ended: true})
	if err != nil || len(sessions.Sessions) != 1 || sessions.Sessions[0].SID != live.SID || sessions.Unreadable != 2 {
		t.Errorf("%+v, %v", sessions, err)
	}
	if n := strings.Count(h.Log.String(), "stored records cannot be read"); n != 2 || strings.Count(h.Log.String(), "level=ERROR") != 2 {
		t.Errorf("%d lines of two pages: %s", n, h.Log)
	}
	h.Put(t, "client.demo-spa", "damaged")
	if sessions, err = h.ListSessions(t.Context(), operator.SessionQuery{}); err != nil || sessions.Unreadable != 3 {
		t.Errorf("%+v, %v", sessions, err)
	}
	h.Put(t, "floor", "damaged")
	_, err = h.ListSessions(t.Context(), operator.SessionQuery{})
	brokertest.WantCode(t, err, broker.CodeInternal)
}
