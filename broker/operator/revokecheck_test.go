package operator_test

import (
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

// Each kind is reported with its reason, start and end. A compromised key has no end, although its
// event has one.
func TestCheckingEachKind(t *testing.T) {
	const jti = "01890a5d-ac96-774b-bcce-b302099a8057"
	h, _ := startWithKeys(t)
	ctx := t.Context()
	if err := h.SetClients(ctx, []broker.Client{{ID: "demo-spa"}}); err != nil {
		t.Fatal(err)
	}
	grant := h.MustSignIn(t)
	for _, revoke := range []func() error{
		func() error { _, err := h.RevokeToken(ctx, jti, "upstream", brokertest.Operator); return err },
		func() error { _, err := h.RevokeSession(ctx, grant.SID, "upstream", brokertest.Operator); return err },
		func() error { _, err := h.RevokeUser(ctx, "ada", "upstream", brokertest.Operator); return err },
		func() error { _, err := h.RevokeClient(ctx, "demo-spa", "upstream", brokertest.Operator); return err },
		func() error { _, err := h.RevokeKey(ctx, "k1", "upstream", brokertest.Operator); return err },
		func() error { _, err := h.RevokeEverybody(ctx, "upstream", brokertest.Operator); return err },
	} {
		if err := revoke(); err != nil {
			t.Fatal(err)
		}
	}
	for kind, value := range map[revocation.Kind]string{
		"jti": jti, "sid": grant.SID, "sub": "ada", "client": "demo-spa", "kid": "k1", "all": "",
	} {
		check, err := h.CheckRevocation(ctx, kind, value)
		if err != nil || !check.Revoked || len(check.Events) == 0 {
			t.Errorf("%s: %+v, %v", kind, check, err)
			continue
		}
		e := check.Events[0]
		if e.Kind != kind || e.Reason != revocation.ReasonUpstream || e.At == 0 || e.Origin == "" || e.Seq == 0 {
			t.Errorf("%s: %+v", kind, e)
		}
		if forEver := e.ExpiresAt == 0; forEver != (kind == revocation.KindKID) {
			t.Errorf("%s ends at %d", kind, e.ExpiresAt)
		}
	}
	var none operator.RevocationCheck
	if none, _ = h.CheckRevocation(ctx, "kid", "k9"); none.Revoked {
		t.Errorf("a key that is not compromised: %+v", none)
	}
}
