package keyring_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

func TestFirstStartMakesActiveAndNextOfBothPurposes(t *testing.T) {
	ring := open(t, config(t, &memStore{}))
	got := map[string]lifecycle.Algorithm{}
	for _, k := range ring.List() {
		got[string(k.Purpose)+" "+string(k.State)] = k.Algorithm
		if !k.Created.Equal(testTime) {
			t.Errorf("%s was created %s, want the injected clock's %s", k, k.Created, testTime)
		}
		if (k.State == lifecycle.StateActive) != k.Activates.Equal(testTime) {
			t.Errorf("%s activates %s", k, k.Activates)
		}
	}
	want := map[string]lifecycle.Algorithm{
		"access active": lifecycle.ES256, "access next": lifecycle.ES256,
		"feed active": lifecycle.EdDSA, "feed next": lifecycle.EdDSA,
		"master active": "HKDF-SHA256",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if got := ring.Compromised(); len(got) != 0 {
		t.Errorf("compromised = %v, want none", got)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	store := &memStore{}
	first := open(t, config(t, store))
	token, err := first.SignAccessToken(t.Context(), []byte(`{"sub":"u"}`))
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, config(t, store))
	verifyAccess(t, again, token)
	if diff := cmp.Diff(first.List(), again.List()); diff != "" {
		t.Errorf("keys (-first +again):\n%s", diff)
	}
	if diff := cmp.Diff(first.JWKS(), again.JWKS()); diff != "" {
		t.Errorf("JWKS (-first +again):\n%s", diff)
	}
	if diff := cmp.Diff(first.FeedJWKS(), again.FeedJWKS()); diff != "" {
		t.Errorf("feed JWKS (-first +again):\n%s", diff)
	}
	if diff := cmp.Diff(first.Keys("csrf"), again.Keys("csrf")); diff != "" {
		t.Error("the derived keys differ after a restart")
	}
	if store.rev != 1 {
		t.Errorf("the record was written %d times, want once", store.rev)
	}
}

func TestConcurrentFirstStartsEndWithOneSet(t *testing.T) {
	const starters = 4
	// All of them find the store empty before the first one can write.
	var ready sync.WaitGroup
	ready.Add(starters)
	store := &memStore{beforeSwap: func() { ready.Done(); ready.Wait() }}
	cfg := config(t, store)
	rings := make([]*keyring.Keyring, starters)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			ring, err := keyring.Open(t.Context(), cfg)
			if err != nil {
				t.Error(err)
			}
			rings[i] = ring
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, ring := range rings[1:] {
		if diff := cmp.Diff(rings[0].List(), ring.List()); diff != "" {
			t.Errorf("two brokers have different keys:\n%s", diff)
		}
		if !cmp.Equal(rings[0].Keys("csrf"), ring.Keys("csrf")) {
			t.Error("two brokers have different master secrets")
		}
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for name, change := range map[string]func(*keyring.Config){
		"no store":             func(c *keyring.Config) { c.Store = nil },
		"no sealer":            func(c *keyring.Config) { c.Sealer = nil },
		"no store id":          func(c *keyring.Config) { c.StoreID = "" },
		"unknown algorithm":    func(c *keyring.Config) { c.Algorithm = "HS256" },
		"algorithm none":       func(c *keyring.Config) { c.Algorithm = "none" },
		"max age too short":    func(c *keyring.Config) { c.JWKSMaxAge = time.Millisecond },
		"max age not whole":    func(c *keyring.Config) { c.JWKSMaxAge = 1500 * time.Millisecond },
		"max age below nought": func(c *keyring.Config) { c.JWKSMaxAge = -time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			store := &memStore{}
			cfg := config(t, store)
			change(&cfg)
			if _, err := keyring.Open(t.Context(), cfg); err == nil {
				t.Fatal("Open succeeded")
			}
			if store.data != nil {
				t.Error("a keyring was made nevertheless")
			}
		})
	}
}

func TestConfiguredAlgorithmDoesNotReplaceExistingKeys(t *testing.T) {
	store := &memStore{}
	first := open(t, config(t, store))
	cfg := config(t, store)
	cfg.Algorithm = lifecycle.EdDSA
	if diff := cmp.Diff(first.List(), open(t, cfg).List()); diff != "" {
		t.Errorf("keys changed (-before +after):\n%s", diff)
	}
}

type failingStore struct{ err error }

func (f failingStore) Load(context.Context) ([]byte, uint64, error) { return nil, 0, f.err }
func (f failingStore) CompareAndSwap(context.Context, []byte, uint64) error {
	panic("nothing may be written")
}

func TestUnreadableStoreIsAnErrorAndNoNewKeyring(t *testing.T) {
	broken := errors.New("disk on fire")
	if _, err := keyring.Open(t.Context(), config(t, failingStore{broken})); !errors.Is(err, broken) {
		t.Fatalf("Open = %v, want %v", err, broken)
	}
}

func TestReload(t *testing.T) {
	store := &memStore{}
	ring := open(t, config(t, store))
	before := ring.Snapshot()
	if err := ring.Reload(t.Context()); err != nil || ring.Snapshot() != before {
		t.Fatalf("an unchanged record resulted in another snapshot (%v)", err)
	}
	old := ring.JWKS().ETag
	var gone string
	rewrite(t, store, func(record map[string]any) {
		// As after another broker's Compromise of a key that was forgotten since: only the
		// list of compromised keys has grown.
		gone = "gonegonegonegonegonegone"
		record["compromised"] = []string{gone}
	})
	if err := ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ring.Compromised(); !cmp.Equal(got, []string{gone}) {
		t.Errorf("compromised = %v, want %v", got, []string{gone})
	}
	if got := ring.JWKS().ETag; got != old {
		t.Errorf("ETag = %s, want %s: the published keys are the same", got, old)
	}
	good := ring.Snapshot()
	store.set([]byte("{"))
	if err := ring.Reload(t.Context()); !errors.Is(err, keyring.ErrCorrupt) {
		t.Errorf("Reload of a damaged record = %v, want ErrCorrupt", err)
	}
	if ring.Snapshot() != good {
		t.Error("a failed reload changed the snapshot")
	}
}
