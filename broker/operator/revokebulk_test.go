package operator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/storetest"
)

// jtis returns n jtis, starting at number first.
func jtis(first, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("01890000-0000-7000-8000-%012d", first+i)
	}
	return values
}

func TestBulkRevocationOfTokens(t *testing.T) {
	h := brokertest.Start(t)
	values := append(jtis(0, 999), jtis(5, 1)...)
	bulk := operator.BulkRevocation{Kind: revocation.KindJTI, Values: values, Reason: "upstream"}
	done, err := h.RevokeBulk(t.Context(), bulk, brokertest.Operator)
	if diff := cmp.Diff(operator.BulkRevoked{Kind: "jti", Recorded: 999, Changed: 999, Broadcast: true}, done); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	if len(h.Ledger.Batches) != 1 || len(h.Ledger.Events()) != 999 || h.Ledger.Events()[7].Reason != revocation.ReasonUpstream {
		t.Errorf("%d events in %d commits", len(h.Ledger.Events()), len(h.Ledger.Batches))
	}
	bulk.Values = jtis(990, 20)
	if done, err = h.RevokeBulk(t.Context(), bulk, brokertest.Operator); err != nil || done.Recorded != 20 || done.Changed != 11 {
		t.Errorf("half of them again: %+v, %v", done, err)
	}
	h.Ledger.Down = true
	if done, err = h.RevokeBulk(t.Context(), bulk, brokertest.Operator); err != nil || done.Recorded != 20 || done.Changed != 0 || done.Broadcast || len(h.Ledger.Batches) != 2 {
		t.Errorf("all of them again, with the network away: %+v, %v", done, err)
	}
	if n := strings.Count(h.Log.String(), "event=bulk_revoke"); n != 3 {
		t.Errorf("%d audit lines", n)
	}
}

func TestBulkRevocationOfSessionsAndUsers(t *testing.T) {
	conflicts := storetest.Times(10)
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Store = storetest.Conflicting(c.Store, func(c store.Change) bool { return len(c.Events) > 0 && conflicts(c) })
	})
	var sids []string
	var grants []*broker.Grant
	for range 40 {
		g := h.MustSignIn(t)
		sids, grants = append(sids, g.SID), append(grants, g)
	}
	nobody := strings.Repeat("a", 26)
	values := append([]string{nobody}, append(sids[:30:30], sids[0])...)
	done, err := h.RevokeBulk(t.Context(), operator.BulkRevocation{Kind: revocation.KindSID, Values: values}, brokertest.Operator)
	want := operator.BulkRevoked{Kind: "sid", Recorded: 30, Changed: 30, Unknown: 1, UnknownValues: []string{nobody}, Broadcast: true}
	if diff := cmp.Diff(want, done); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	for i, g := range grants {
		if _, err := h.Refresh(t.Context(), g.RefreshToken, g.CSRFToken, brokertest.Request); (err != nil) != (i < 30) {
			t.Errorf("session %d: %v", i, err)
		}
	}
	if done, err = h.RevokeBulk(t.Context(), operator.BulkRevocation{Kind: revocation.KindSID, Values: values}, brokertest.Operator); err != nil || done.Recorded != 30 || done.Changed != 0 {
		t.Errorf("again: %+v, %v", done, err)
	}
	names := []string{"nobody"}
	for i := range 50 {
		names = append(names, fmt.Sprint("u", i))
		if _, err := h.AddUser(t.Context(), operator.NewUser{Username: names[i+1], Password: "a pass phrase"}, brokertest.Operator); err != nil {
			t.Fatal(err)
		}
	}
	done, err = h.RevokeBulk(t.Context(), operator.BulkRevocation{Kind: revocation.KindSub, Values: append(names, "ada")}, brokertest.Operator)
	want = operator.BulkRevoked{Kind: "sub", Recorded: 51, Changed: 51, Unknown: 1, UnknownValues: []string{"nobody"}, Broadcast: true}
	if diff := cmp.Diff(want, done); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	if page, err := h.ListSessions(t.Context(), operator.SessionQuery{}); err != nil || len(page.Sessions) != 0 {
		t.Errorf("sessions are still active: %+v, %v", page, err)
	}
}

func TestRefusedBulkRevocationsWriteNothing(t *testing.T) {
	h := brokertest.Start(t)
	good := jtis(0, 1)[0]
	for name, bulk := range map[string]operator.BulkRevocation{
		"none":        {Kind: revocation.KindJTI},
		"too many":    {Kind: revocation.KindJTI, Values: jtis(0, operator.MaxBulkRevocation+1)},
		"a bad one":   {Kind: revocation.KindJTI, Values: []string{good, "x"}},
		"a bad sid":   {Kind: revocation.KindSID, Values: []string{good}},
		"an empty":    {Kind: revocation.KindSub, Values: []string{""}},
		"of clients":  {Kind: revocation.KindClient, Values: []string{"demo-spa"}},
		"of all":      {Kind: revocation.KindAll, Values: []string{""}},
		"of no kind":  {Values: []string{good}},
		"of a reason": {Kind: revocation.KindJTI, Values: []string{good}, Reason: "because"},
	} {
		_, err := h.RevokeBulk(t.Context(), bulk, brokertest.Operator)
		if app := brokertest.WantCode(t, err, broker.CodeInvalidRevocation); name == "a bad one" && !strings.HasPrefix(app.Message, "Value 2: ") {
			t.Errorf("message %q", app.Message)
		}
	}
	if n := len(h.Ledger.Events()); n > 0 {
		t.Errorf("%d events", n)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.RevokeBulk(gone, operator.BulkRevocation{Kind: revocation.KindSub, Values: []string{"ada"}}, brokertest.Operator); err == nil {
		t.Error("the call of a caller that left succeeded")
	}
}

func TestCheckingASession(t *testing.T) {
	h := brokertest.Start(t)
	grant, other := h.MustSignIn(t), h.MustSignIn(t)
	check, err := h.CheckRevocation(t.Context(), "", grant.SID)
	if err != nil || check.Revoked || check.Session == nil || check.Session.State != "live" || len(check.Events) != 0 {
		t.Fatalf("%+v, %v", check, err)
	}
	if _, err := h.RevokeSession(t.Context(), grant.SID, "reuse", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	if _, err := h.RevokeUser(t.Context(), "ada", "", brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	kinds := func(c operator.RevocationCheck) (all string) {
		for _, e := range c.Events {
			all += string(e.Kind) + " "
		}
		return all
	}
	if check, err = h.CheckRevocation(t.Context(), "sid", grant.SID); err != nil || !check.Revoked || kinds(check) != "sid sub " || check.Session.State != "refresh_token_reused" {
		t.Errorf("%+v, %v", check, err)
	}
	if check, err = h.CheckRevocation(t.Context(), "sid", other.SID); err != nil || !check.Revoked || kinds(check) != "sub " {
		t.Errorf("%+v, %v", check, err)
	}
	// Earlier events do not apply to a later session.
	if check, err = h.CheckRevocation(t.Context(), "sid", h.MustSignIn(t).SID); err != nil || check.Revoked || kinds(check) != "" {
		t.Errorf("%+v, %v", check, err)
	}
	if check, err = h.CheckRevocation(t.Context(), "", "nobody"); err != nil || check.Revoked || check.Session != nil || check.Events == nil {
		t.Errorf("%+v, %v", check, err)
	}
	for _, ask := range [][2]string{{"sid", ""}, {"", ""}, {"all", "x"}, {"moon", "x"}, {"sid", strings.Repeat("x", 513)}} {
		_, err := h.CheckRevocation(t.Context(), revocation.Kind(ask[0]), ask[1])
		brokertest.WantCode(t, err, broker.CodeInvalidRevocation)
	}
	h.Ledger.Broken = errors.New("unreadable") // never "not revoked"
	_, err = h.CheckRevocation(t.Context(), "", "nobody")
	brokertest.WantCode(t, err, broker.CodeInternal)
}
