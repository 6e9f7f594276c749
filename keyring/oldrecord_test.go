package keyring_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

// asVersion1 writes the stored record as a broker without rotation did.
func asVersion1(t *testing.T, store *memStore) {
	t.Helper()
	rewrite(t, store, func(record map[string]any) {
		for _, member := range []string{"configured", "cache_life", "token_life"} {
			delete(record, member)
		}
		for _, k := range record["keys"].([]any) {
			for _, member := range []string{"ready", "asked", "jitter"} {
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

func TestRecordsOfVersion1AreUpgraded(t *testing.T) {
	clock, store := newClock(), &memStore{}
	before := open(t, rotating(t, store, clock, nil))
	rotate(t, before, "master", "")
	secrets, jwks, active := before.Keys("refresh"), before.JWKS(), find(t, before, "access", "active").KID
	asVersion1(t, store)

	ring := open(t, rotating(t, store, clock, nil))
	if ring.JWKS().ETag != jwks.ETag || find(t, ring, "access", "active").KID != active {
		t.Error("the keys differ from those before")
	}
	// The first secret was the current one.
	if diff := cmp.Diff([][]byte{secrets[1], secrets[0]}, ring.Keys("refresh")); diff != "" {
		t.Error("the master secrets differ from those before")
	}
	clock.pass(readyAfter)
	if r := rotate(t, ring, "access", ""); r.Scheduled || !r.Changed {
		t.Errorf("rotation = %+v", r)
	}
	if got := infoOf(open(t, rotating(t, store, clock, nil)), active).State; got != lifecycle.StateRetiring {
		t.Errorf("the old key is %s after a restart", got)
	}
}

// The version is outside of the seal.
func TestARecordThatClaimsAnOlderVersionIsRefused(t *testing.T) {
	store := &memStore{}
	open(t, config(t, store))
	callVersion1(t, store)
	mustRefuse(t, config(t, store), store, keyring.ErrCorrupt)
}

// storedRecord returns the record in testdata, which an earlier build of this program wrote under
// the KEK 1: it has a key in every state, master secrets in every state, and a longer token life
// that is published but not signed yet.
func storedRecord(t *testing.T) *memStore {
	t.Helper()
	data, err := os.ReadFile("testdata/record_v2.json")
	if err != nil {
		t.Fatal(err)
	}
	return &memStore{data: data, rev: 1}
}

func TestStoredRecordsOpenAsTheyWereWritten(t *testing.T) {
	data, err := os.ReadFile("testdata/record_v2_want.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		List             json.RawMessage `json:"list"`
		JWKS             string          `json:"jwks"`
		FeedJWKS         string          `json:"feed_jwks"`
		RefreshTokenKeys []string        `json:"refresh_token_keys"`
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	cfg := rotating(t, storedRecord(t), newClock(), nil)
	cfg.MasterLife = 90 * 24 * time.Hour
	ring := open(t, cfg)
	list, err := json.MarshalIndent(ring.List(), " ", " ")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want.List), string(list)); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.JWKS, string(ring.JWKS().Body)); diff != "" {
		t.Errorf("JWKS (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.FeedJWKS, string(ring.FeedJWKS().Body)); diff != "" {
		t.Errorf("feed JWKS (-want +got):\n%s", diff)
	}
	var derived []string
	for _, key := range ring.Keys("refresh-token") {
		derived = append(derived, hex.EncodeToString(key))
	}
	if diff := cmp.Diff(want.RefreshTokenKeys, derived); diff != "" {
		t.Errorf("refresh-token keys (-want +got):\n%s", diff)
	}
}

// sealedValues matches the values that differ each time a record is sealed.
var sealedValues = regexp.MustCompile(`"(private|sealed|check)":"[^"]*"`)

func TestRecordsAreWrittenInTheStoredForm(t *testing.T) {
	store := storedRecord(t)
	want := sealedValues.ReplaceAll(store.data, []byte(`"$1":""`))
	if err := open(t, rotating(t, store, newClock(), nil)).RotateKEK(t.Context(), sealer(t, 2)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(sealedValues.ReplaceAll(store.data, []byte(`"$1":""`)))); diff != "" {
		t.Errorf("the record after a change of the KEK (-before +after):\n%s", diff)
	}
}
