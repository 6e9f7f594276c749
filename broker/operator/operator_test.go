package operator_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

func TestDisablingAUserEndsSessionsThatEnablingDoesNotRevive(t *testing.T) {
	h := brokertest.Start(t)
	before := h.MustSignIn(t)
	done, err := h.DisableUser(t.Context(), "ada", brokertest.Operator)
	if err != nil || !done.Changed || !done.Broadcast || done.Value != before.UID || done.Epoch == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	events := h.Ledger.Events()
	want := revocation.Event{
		Kind: revocation.KindSub, Value: before.UID, Epoch: done.Epoch, Reason: revocation.ReasonUserDisabled,
		At: h.Clock.Now().Unix(), ExpiresAt: events[0].ExpiresAt, By: "uid 1000",
	}
	if len(events) != 1 || events[0] != want {
		t.Fatalf("events %+v, want %+v", events, want)
	}
	_, err = h.Refresh(t.Context(), before.RefreshToken, before.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeUserDisabled)
	_, err = h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidCredentials)

	again, err := h.DisableUser(t.Context(), before.UID, brokertest.Operator)
	if err != nil || again.Changed || again.Epoch != done.Epoch || len(h.Ledger.Events()) != 1 {
		t.Errorf("a second time: %+v, %v", again, err)
	}
	if info, err := h.EnableUser(t.Context(), "ada", brokertest.Operator); err != nil || info.Disabled {
		t.Fatalf("%+v, %v", info, err)
	}
	_, err = h.Refresh(t.Context(), before.RefreshToken, before.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
	after := h.MustSignIn(t)
	if sep := int64(brokertest.Claims(t, after.AccessToken)["sep"].(float64)); sep != done.Epoch {
		t.Errorf("sep %d, want %d", sep, done.Epoch)
	}
	if _, err := h.Refresh(t.Context(), after.RefreshToken, after.CSRFToken, brokertest.Request); err != nil {
		t.Error(err)
	}
}

func TestRevokingAUserAndASession(t *testing.T) {
	h := brokertest.Start(t)
	one, other := h.MustSignIn(t), h.MustSignIn(t)
	done, err := h.RevokeSession(t.Context(), one.SID, "upstream", brokertest.Operator)
	if err != nil || !done.Changed || !done.Broadcast || done.Kind != "sid" || done.Value != one.SID {
		t.Fatalf("%+v, %v", done, err)
	}
	if again, err := h.RevokeSession(t.Context(), one.SID, "", brokertest.Operator); err != nil || again.Changed {
		t.Errorf("a second time: %+v, %v", again, err)
	}
	_, err = h.Refresh(t.Context(), one.RefreshToken, one.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
	if _, err := h.Refresh(t.Context(), other.RefreshToken, other.CSRFToken, brokertest.Request); err != nil {
		t.Fatalf("the other session: %v", err)
	}
	h.Ledger.Down = true
	if done, err = h.RevokeUser(t.Context(), "ada", "", brokertest.Operator); err != nil || !done.Changed || done.Broadcast {
		t.Fatalf("with the network away: %+v, %v", done, err)
	}
	_, err = h.Refresh(t.Context(), other.RefreshToken, other.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
	if events := h.Ledger.Events(); len(events) != 2 || events[0].Reason != revocation.ReasonUpstream || events[1].Reason != revocation.ReasonRevoked {
		t.Errorf("events %+v", events)
	}
	for _, sid := range []string{"", "x", strings.Repeat("a", 26), one.UID} {
		_, err = h.RevokeSession(t.Context(), sid, "", brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeUnknownSession)
	}
	_, err = h.RevokeUser(t.Context(), "nobody", "", brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeUnknownUser)
	for _, reason := range []string{"because", "Revoked", " revoked"} {
		_, err = h.RevokeUser(t.Context(), "ada", reason, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeInvalidRevocation)
		_, err = h.RevokeSession(t.Context(), one.SID, reason, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeInvalidRevocation)
	}
}

func TestSettingAPassword(t *testing.T) {
	h := brokertest.Start(t)
	grant := h.MustSignIn(t)
	kept, err := h.SetPassword(t.Context(), "ada", "countess", true, brokertest.Operator)
	if err != nil || !kept.Changed || !kept.Broadcast || len(h.Ledger.Events()) != 0 {
		t.Fatalf("%+v, %v", kept, err)
	}
	_, err = h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
	if grant, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil {
		t.Fatalf("a kept session: %v", err)
	}
	ended, err := h.SetPassword(t.Context(), "ada", "lord byron", false, brokertest.Operator)
	if err != nil || !ended.Changed || ended.Epoch == 0 || len(h.Ledger.Events()) != 1 {
		t.Fatalf("%+v, %v", ended, err)
	}
	_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
	if _, err := h.SignIn(t.Context(), "ada", "lord byron", brokertest.Request); err != nil {
		t.Error(err)
	}
	for _, password := range []string{"", strings.Repeat("pq", 513), "Xk3$9!q", "iloveyou", "87654321", "ada-ada-ada", "tokenbroker"} {
		_, err = h.SetPassword(t.Context(), "ada", password, false, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeInvalidUser)
	}
}

func TestRemovingAUserDeletesAccountsAndSessions(t *testing.T) {
	h := brokertest.Start(t, func(c *brokertest.Config) { c.Policy.MaxSessions = 1000 })
	grant := h.MustSignIn(t)
	for range 120 { // more than a page
		h.MustSignIn(t)
	}
	done, err := h.RemoveUser(t.Context(), "ada", brokertest.Operator)
	if err != nil || !done.Changed || done.Value != grant.UID {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, prefix := range []string{"user.", "identity.", "session.", "sid.", "listed.", "name."} {
		if left, err := h.Store.List(t.Context(), prefix, "", 10); err != nil || len(left) != 0 {
			t.Errorf("%s: %d records are left, %v", prefix, len(left), err)
		}
	}
	if events := h.Ledger.Events(); len(events) != 1 || events[0].Kind != revocation.KindSub || events[0].Epoch != done.Epoch {
		t.Errorf("events %+v", events)
	}
	_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeNoSession)
	for _, ref := range []string{"ada", grant.UID} {
		_, err = h.RemoveUser(t.Context(), ref, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeUnknownUser)
	}
	if info, err := h.AddUser(t.Context(), operator.NewUser{Username: "ada", Password: "lovelace again"}, brokertest.Operator); err != nil || info.UID == grant.UID {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestALoginByARemovedUsersAccountCreatesANewUser(t *testing.T) {
	h, p := brokertest.Federated(t)
	login := func(token string) string {
		t.Helper()
		p.Identity.TokenHash = token
		grant, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
		if err != nil {
			t.Fatal(err)
		}
		return grant.UID
	}
	first := login("t1")
	if _, err := h.UpdateUser(t.Context(), first, operator.UserChange{Roles: []string{"admin"}}, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	if login("t2") != first {
		t.Fatal("the same account belongs to another user")
	}
	info, err := h.User(t.Context(), first)
	if err != nil || fmt.Sprint(info.Roles, info.Groups, info.Accounts) != "[admin] [staff] [{https://idp.test sub-1}]" || info.HasPassword {
		t.Errorf("%+v, %v", info, err)
	}
	_, err = h.SetPassword(t.Context(), first, "a password", false, brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeInvalidUser)
	if _, err := h.RemoveUser(t.Context(), first, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	second := login("t3")
	if second == first {
		t.Fatal("a removed user exists again")
	}
	// An earlier version left links to removed users.
	rec, err := h.Store.Get(t.Context(), "user."+second)
	if err != nil {
		t.Fatal(err)
	}
	if errs := h.Store.Commit(t.Context(), []store.Change{{Writes: []store.Write{{Key: rec.Key, Delete: true, Expect: rec.Revision}}}}, nil); errs[0] != nil {
		t.Fatal(errs)
	}
	if third := login("t4"); third == second || third != login("t5") {
		t.Error("the account cannot sign in, or has a new user each time")
	}
}

func TestUsersAreAddedShownAndChanged(t *testing.T) {
	h := brokertest.Start(t)
	user := operator.NewUser{Username: "Grace", Password: "rear admiral", Attributes: map[string]any{"email": "grace@navy.test"}, Roles: []string{"admiral"}}
	added, err := h.AddUser(t.Context(), user, brokertest.Operator)
	if err != nil || !added.HasPassword || len(added.Accounts) != 1 || added.Accounts[0].Issuer != broker.LocalIssuer {
		t.Fatalf("%+v, %v", added, err)
	}
	_, err = h.AddUser(t.Context(), user, brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeUserExists)
	for _, ref := range []string{"Grace", added.UID} {
		if info, err := h.User(t.Context(), ref); err != nil || info.UID != added.UID || info.CreatedAt != h.Clock.Now().UTC() {
			t.Errorf("%s: %+v, %v", ref, info, err)
		}
	}
	info, err := h.UpdateUser(t.Context(), "Grace", operator.UserChange{Roles: []string{}}, brokertest.Operator)
	if err != nil || len(info.Roles) != 0 || info.Attributes["email"] != "grace@navy.test" {
		t.Errorf("roles removed: %+v, %v", info, err)
	}
	info, err = h.UpdateUser(t.Context(), "Grace", operator.UserChange{Attributes: map[string]any{"rank": "1"}}, brokertest.Operator)
	if err != nil || len(info.Attributes) != 1 {
		t.Errorf("attributes replaced: %+v, %v", info, err)
	}
	for _, ref := range []string{"", "grace", "nobody", strings.Repeat("a", 26)} {
		_, err = h.User(t.Context(), ref)
		brokertest.WantCode(t, err, broker.CodeUnknownUser)
		_, err = h.UpdateUser(t.Context(), ref, operator.UserChange{}, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeUnknownUser)
	}
}

func TestInvalidUsersAreRefused(t *testing.T) {
	h := brokertest.Start(t)
	many := map[string]any{}
	for i := range 65 {
		many[fmt.Sprint(i)] = 1
	}
	for name, change := range map[string]func(*operator.NewUser){
		"no name":                func(u *operator.NewUser) { u.Username = "" },
		"a name of a uid's form": func(u *operator.NewUser) { u.Username = strings.Repeat("a", 26) },
		"a long name":            func(u *operator.NewUser) { u.Username = strings.Repeat("n", 129) },
		"a name not UTF-8":       func(u *operator.NewUser) { u.Username = "\xff" },
		"a name with a newline":  func(u *operator.NewUser) { u.Username = "a\nb" },
		"a name with DEL":        func(u *operator.NewUser) { u.Username = "a\u007f" },
		"no password":            func(u *operator.NewUser) { u.Password = "" },
		"a long password":        func(u *operator.NewUser) { u.Password = strings.Repeat("pq", 512) + "p" },
		"a short password":       func(u *operator.NewUser) { u.Password = "Xk3$9!q" },
		"a common password":      func(u *operator.NewUser) { u.Password = "PassW0rd" },
		"a sequence":             func(u *operator.NewUser) { u.Password = "cdefghijk" },
		"the user's name":        func(u *operator.NewUser) { u.Password = "Good!2024good" },
		"a part of the name":     func(u *operator.NewUser) { u.Username, u.Password = "grace@example.org", "grace19061209" },
		"the product's name":     func(u *operator.NewUser) { u.Password = "TokenBroker1" },
		"many attributes":        func(u *operator.NewUser) { u.Attributes = many },
		"big attributes":         func(u *operator.NewUser) { u.Attributes = map[string]any{"a": strings.Repeat("x", 16<<10)} },
		"attributes not of JSON": func(u *operator.NewUser) { u.Attributes = map[string]any{"a": make(chan int)} },
		"many roles":             func(u *operator.NewUser) { u.Roles = make([]string, 65) },
		"an empty role":          func(u *operator.NewUser) { u.Roles = []string{""} },
		"a long role":            func(u *operator.NewUser) { u.Roles = []string{strings.Repeat("r", 129)} },
	} {
		t.Run(name, func(t *testing.T) {
			user := operator.NewUser{Username: "good", Password: "a good pass phrase"}
			change(&user)
			_, err := h.AddUser(t.Context(), user, brokertest.Operator)
			brokertest.WantCode(t, err, broker.CodeInvalidUser)
		})
	}
	for _, name := range []string{strings.Repeat("n", 128), "a b", "ä@ö", strings.Repeat("a", 25)} {
		if _, err := h.AddUser(t.Context(), operator.NewUser{Username: name, Password: strings.Repeat("pq", 512)}, brokertest.Operator); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestUsersAreListedPageByPage(t *testing.T) {
	h := brokertest.Start(t)
	for i := range 11 {
		user := operator.NewUser{Username: fmt.Sprintf("user-%d", i), Password: "a pass phrase", Attributes: map[string]any{"email": fmt.Sprintf("U%d@Example.org", i)}}
		if _, err := h.AddUser(t.Context(), user, brokertest.Operator); err != nil {
			t.Fatal(err)
		}
	}
	for match, want := range map[string]int{"": 12, "USER-1": 2, "u1@example": 1, "nobody": 0, "ada": 1} {
		seen := map[string]bool{}
		q := operator.UserQuery{Match: match, Limit: 4}
		for pages := 0; ; pages++ {
			page, err := h.ListUsers(t.Context(), q)
			if err != nil || len(page.Users) > 4 || pages > 3 {
				t.Fatalf("%q: %+v, %v", match, page, err)
			}
			for _, u := range page.Users {
				seen[u.UID] = true
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("%q: %d users, want %d", match, len(seen), want)
		}
	}
}

func TestAListReadsABoundedNumberOfRecordsAndReturnsWhereToContinue(t *testing.T) {
	h := brokertest.Start(t)
	var writes []store.Write
	for i := range 10_050 {
		uid := fmt.Sprintf("%026d", i) // sorted before any uid
		value, err := session.NewUser(uid, fmt.Sprint("crowd-", i), "", nil, h.Clock.Now()).Encode()
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, store.Write{Key: "user." + uid, Value: value})
	}
	if errs := h.Store.Commit(t.Context(), []store.Change{{Writes: writes}}, nil); errs[0] != nil {
		t.Fatal(errs)
	}
	first, err := h.ListUsers(t.Context(), operator.UserQuery{Match: "ada"})
	if err != nil || len(first.Users) != 0 || first.Next != fmt.Sprintf("%026d", 9_999) {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := h.ListUsers(t.Context(), operator.UserQuery{Match: "ada", After: first.Next})
	if err != nil || len(second.Users) != 1 || second.Next != "" {
		t.Errorf("%+v, %v", second, err)
	}
	if page, err := h.ListUsers(t.Context(), operator.UserQuery{Limit: 5000}); err != nil || len(page.Users) != 1000 {
		t.Errorf("%d users on a page, %v", len(page.Users), err)
	}
}

func TestSessionsAreListedWithTheirState(t *testing.T) {
	h := brokertest.Start(t)
	if _, err := h.AddUser(t.Context(), operator.NewUser{Username: "bob", Password: "a pass phrase"}, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	bob, err := h.SignIn(t.Context(), "bob", "a pass phrase", broker.Request{UserAgent: "a browser"})
	if err != nil {
		t.Fatal(err)
	}
	off, revoked, live := h.MustSignIn(t), h.MustSignIn(t), h.MustSignIn(t)
	if _, err := h.LogOff(t.Context(), off.RefreshToken, off.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	if _, err := h.RevokeSession(t.Context(), revoked.SID, "", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	states := func(q operator.SessionQuery) map[string]string {
		t.Helper()
		got := map[string]string{}
		for {
			page, err := h.ListSessions(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.Sessions {
				got[s.SID] = s.State
			}
			if q.After = page.Next; q.After == "" {
				return got
			}
		}
	}
	check := func(name string, got, want map[string]string) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	check("all that live", states(operator.SessionQuery{Limit: 1}), map[string]string{bob.SID: "live", live.SID: "live"})
	check("all of one", states(operator.SessionQuery{User: "ada", Ended: true, Limit: 2}),
		map[string]string{off.SID: "session_ended", revoked.SID: "session_revoked", live.SID: "live"})
	if _, err := h.DisableUser(t.Context(), "bob", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	check("a disabled user's", states(operator.SessionQuery{User: bob.UID, Ended: true}), map[string]string{bob.SID: "user_disabled"})
	if err := h.SignOutEverybody(t.Context(), revocation.ReasonRevoked); err != nil {
		t.Fatal(err)
	}
	check("after signing everybody out", states(operator.SessionQuery{}), map[string]string{})
	_, err = h.ListSessions(t.Context(), operator.SessionQuery{User: "nobody"})
	brokertest.WantCode(t, err, broker.CodeUnknownUser)

	page, err := h.ListSessions(t.Context(), operator.SessionQuery{User: "bob", Ended: true})
	if err != nil || len(page.Sessions) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	s := page.Sessions[0]
	if s.UID != bob.UID || s.Username != "bob" || s.ClientID != "demo-spa" || s.Device != "a browser" || s.Channel != "cookie" || s.TokenExpires.Unix() != bob.ExpiresAt.Unix() ||
		s.ExpiresAt != h.Clock.Now().Add(336*time.Hour).UTC() {
		t.Errorf("%+v", s)
	}
}

func TestOperatorsLeaveAuditLinesWithoutSecrets(t *testing.T) {
	h := brokertest.Start(t)
	grant := h.MustSignIn(t)
	calls := []struct {
		event string
		call  func() error
	}{
		{"user_add", func() error {
			_, err := h.AddUser(t.Context(), operator.NewUser{Username: "bob", Password: "s3cret-1"}, brokertest.Operator)
			return err
		}},
		{"user_update", func() error {
			_, err := h.UpdateUser(t.Context(), "bob", operator.UserChange{Roles: []string{"r"}}, brokertest.Operator)
			return err
		}},
		{"user_password", func() error {
			_, err := h.SetPassword(t.Context(), "bob", "s3cret-2", false, brokertest.Operator)
			return err
		}},
		{"user_disable", func() error { _, err := h.DisableUser(t.Context(), "bob", brokertest.Operator); return err }},
		{"user_enable", func() error { _, err := h.EnableUser(t.Context(), "bob", brokertest.Operator); return err }},
		{"user_revoke", func() error { _, err := h.RevokeUser(t.Context(), "bob", "", brokertest.Operator); return err }},
		{"user_remove", func() error { _, err := h.RemoveUser(t.Context(), "bob", brokertest.Operator); return err }},
		{"session_revoke", func() error { _, err := h.RevokeSession(t.Context(), grant.SID, "", brokertest.Operator); return err }},
	}
	for _, c := range calls {
		before := h.Log.Len()
		if err := c.call(); err != nil {
			t.Fatalf("%s: %v", c.event, err)
		}
		line := h.Log.String()[before:]
		for _, want := range []string{"event=" + c.event, `operator="uid 1000"`, `note="left the team"`, "changed=true", "request_id=r2", "uid="} {
			if strings.Count(line, want) != 1 {
				t.Errorf("%s: want %s once in %s", c.event, want, line)
			}
		}
	}
	if strings.Contains(h.Log.String(), "s3cret") {
		t.Error("the log contains a password")
	}
	info, err := h.User(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(info); err != nil || strings.Contains(string(text), "lovelace") {
		t.Errorf("the answer contains a password hash: %s, %v", text, err)
	}
}
