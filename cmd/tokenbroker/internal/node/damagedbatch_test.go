package node_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"tokenbroker/api/httpapi"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// TestADamagedBatchIsNamed follows docs/operate.md: a broker that cannot read what another one has revoked names its key, and goes on
// with what does not depend on it. After all users were signed out the batch can be deleted.
func TestADamagedBatchIsNamed(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 2)
	one, two := b.all[0], b.all[1]
	s, other := b.signInAt(one), b.signInAt(one)
	if code, _ := b.verifyAt(two, s.access); code != http.StatusOK {
		t.Fatalf("a token is refused: %d", code)
	}
	h := b.engine.Open(nil)
	write := func(w store.Write) {
		t.Helper()
		w.Blind = true
		if _, errs := h.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	two.refuse()
	if a := s.logOffAt(one); !a.accepted() {
		t.Fatalf("log-off: %d %s", a.status, a.body)
	}
	batches, err := h.List(t.Context(), "ledger.batch."+one.status().Ledger.Origin, "", 10)
	if err != nil || len(batches) != 1 {
		t.Fatalf("%d batches, %v", len(batches), err)
	}
	key := batches[0].Key
	write(store.Write{Key: key, Value: []byte("damaged")})
	two.heal()

	names := func() bool {
		return slices.ContainsFunc(two.status().Checks, func(c httpapi.Check) bool { return c.Degraded && strings.Contains(c.Detail, key) })
	}
	eventually(t, "status names the damaged batch", names)
	two.becomes(http.StatusOK) // degraded: it serves what does not depend on revocations
	if state := two.status().Ready; state != "degraded" {
		t.Errorf("the state is %q", state)
	}
	if code, _ := b.verifyAt(one, other.access); code != http.StatusOK {
		t.Errorf("the broker that has the batch refuses a token: %d", code)
	}

	if err := two.node.Operators().SignOutEverybody(t.Context(), revocation.ReasonRevoked); err != nil {
		t.Fatal(err)
	}
	write(store.Write{Key: key, Delete: true})
	eventually(t, "the batch is no longer named", func() bool { return !names() })
	for _, access := range []string{s.access, other.access} {
		if code, problem := b.verifyAt(two, access); code != http.StatusUnauthorized || problem != "token_revoked" {
			t.Errorf("a token of before: %d %s", code, problem)
		}
	}
	if code, _ := b.verifyAt(two, b.signInAt(two).access); code != http.StatusOK {
		t.Errorf("a new token: %d", code)
	}
}
