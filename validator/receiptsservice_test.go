package validator_test

import (
	"strings"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

// Each validator of a service counts by itself, under the service's name.
func TestServiceReportsItsPosition(t *testing.T) {
	v, issuer := start(t, func(c *validator.Config) { c.Service = "orders" })
	other, err := validator.New(t.Context(), issuer.Config("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	issuer.RevokeSession("gone")
	var got []revocation.Receipt
	for deadline := time.Now().Add(time.Minute); ; {
		got = issuer.Receipts()
		if len(got) == 2 && applied(got[0]) == 1 && applied(got[1]) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("receipts %+v", got)
		}
		<-time.After(5 * time.Millisecond)
	}
	if !strings.HasPrefix(got[0].Service, "orders/") || !strings.HasPrefix(got[1].Service, validatortest.ClientID+"/") {
		t.Errorf("receipts of %s and %s", got[0].Service, got[1].Service)
	}
	if s := v.Stats().Feed; s.Receipts == 0 || s.FailedReceipts != 0 || !got[0].Fresh {
		t.Errorf("%+v, receipt %+v", s, got[0])
	}
}

// applied is the position in a receipt of one origin.
func applied(r revocation.Receipt) uint64 {
	for _, seq := range r.Applied {
		return seq
	}
	return 0
}
