package session_test

import (
	"fmt"
	"testing"
	"time"

	"tokenbroker/broker/session"
)

// The record of a user has a bounded size, however many clients the user allows.
func TestTheConsentOfFiftyClientsIsRemembered(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	user := session.NewUser("u", "ada", "", nil, at)
	for i := range 60 {
		eff := session.Step(at.Add(time.Duration(i)*time.Second), session.DefaultPolicy, session.State{User: user}, session.Allow{
			ClientID: fmt.Sprint("c", i), Scopes: []string{"openid"},
		})
		user = eff.PutUser
	}
	eff := session.Step(at, session.DefaultPolicy, session.State{User: user}, session.Allow{ClientID: "c10", Scopes: []string{"email"}})
	got := eff.PutUser.Consents
	if len(got) != 50 || got[0].ClientID != "c11" || got[49].ClientID != "c10" || len(got[49].Scopes) != 2 || got[49].At != at.Unix() {
		t.Errorf("%d consents, from %+v to %+v", len(got), got[0], got[len(got)-1])
	}
	if len(user.Consents) != 50 || user.Consents[0].ClientID != "c10" || len(user.Consents[0].Scopes) != 1 {
		t.Error("Step changed its input")
	}
}
