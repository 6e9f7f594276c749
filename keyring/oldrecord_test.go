package keyring_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring"
)

// asVersion1 writes the stored record as a broker did that knew no rotation.
func asVersion1(t *testing.T, store *memStore) {
	t.Helper()
	rewrite(t, store, func(record map[string]any) {
		for _, member := range []string{"configured", "cache_life", "token_life"} {
			delete(record, member)
		}
		for _, k := range record["keys"].([]any) {
			for _, member := range []string{"ripe", "asked", "jitter"} {
				delete(k.(map[string]any), member)
			}
		}
		for _, m := range record["masters"].([]any) {
			for _, member := range []string{"state", "activates", "retires", "jitter"} {
				delete(m.(map[string]any), member)
			}
		}
	})
	callVersion1(t, store)
}

func callVersion1(t *testing.T, store *memStore) {
	t.Helper()
	old := bytes.Replace(store.data, []byte(`"v":2`), []byte(`"v":1`), 1)
	if bytes.Equal(old, store.data) {
		t.Fatal("the record has another version")
	}
	store.set(old)
}

func TestRecordsOfVersion1AreTakenOver(t *testing.T) {
	clock, store := newClock(), &memStore{}
	before := open(t, rotating(t, store, clock, nil))
	rotate(t, before, "master", "")
	secrets, jwks, active := before.Keys("refresh"), before.JWKS(), find(t, before, "access", "active").KID
	asVersion1(t, store)

	ring := open(t, rotating(t, store, clock, nil))
	if ring.JWKS().ETag != jwks.ETag || find(t, ring, "access", "active").KID != active {
		t.Error("other keys than before")
	}
	// The first secret was the current one.
	if diff := cmp.Diff([][]byte{secrets[1], secrets[0]}, ring.Keys("refresh")); diff != "" {
		t.Error("other master secrets than before")
	}
	clock.pass(ripening)
	if r := rotate(t, ring, "access", ""); r.Scheduled || !r.Changed {
		t.Errorf("rotation = %+v", r)
	}
	if got := infoOf(open(t, rotating(t, store, clock, nil)), active).State; got != keyring.StateRetiring {
		t.Errorf("the old key is %s after a restart", got)
	}
}

// The version is outside of the seal.
func TestARecordThatCallsItselfOlderIsRefused(t *testing.T) {
	store := &memStore{}
	open(t, config(t, store))
	callVersion1(t, store)
	mustRefuse(t, config(t, store), store, keyring.ErrCorrupt)
}
