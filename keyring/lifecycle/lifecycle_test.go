package lifecycle_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring/lifecycle"
)

var start = time.Unix(1_800_000_000, 0).UTC()

var policy = lifecycle.Policy{
	Algorithm: lifecycle.ES256, CacheLife: 5 * time.Minute, Margin: 30 * time.Second,
	TokenLife: 5 * time.Minute, MasterLife: 90 * 24 * time.Hour, RotateEvery: 30 * 24 * time.Hour,
}

const readyAfter = 5*time.Minute + 30*time.Second

func newKey(kid string, purpose lifecycle.Purpose, algorithm lifecycle.Algorithm, state lifecycle.State) lifecycle.Key {
	k := lifecycle.Key{Label: lifecycle.Label{KID: kid, Purpose: purpose, Algorithm: algorithm, State: state}, Created: start.Unix()}
	if state == lifecycle.StateActive {
		k.Activates = k.Created
	}
	return k
}

// newSet is the key set of a new broker.
func newSet() *lifecycle.KeySet {
	return &lifecycle.KeySet{
		Keys: []lifecycle.Key{
			newKey("a1", lifecycle.PurposeAccess, lifecycle.ES256, lifecycle.StateActive),
			newKey("a2", lifecycle.PurposeAccess, lifecycle.ES256, lifecycle.StateNext),
			newKey("f1", lifecycle.PurposeFeed, lifecycle.EdDSA, lifecycle.StateActive),
			newKey("f2", lifecycle.PurposeFeed, lifecycle.EdDSA, lifecycle.StateNext),
		},
		Masters: []lifecycle.Key{newKey("m1", lifecycle.PurposeMaster, lifecycle.HKDFSHA256, lifecycle.StateActive)},
		History: lifecycle.History{Configured: lifecycle.ES256, CacheLife: 300},
	}
}

func newKIDs(p *lifecycle.Plan) (kids []string) {
	for _, k := range p.List() {
		kids = append(kids, k.KID+" "+string(k.State))
	}
	return kids
}

func TestAPlanAsksForTheKeyThatItNeedsAndLeavesItsInputAlone(t *testing.T) {
	set := newSet()
	in := lifecycle.Input{Set: set, Policy: policy, Now: start}
	var missing *lifecycle.MissingKeyError
	if _, err := lifecycle.NewPlan(in).Compromise("a1"); !errors.As(err, &missing) {
		t.Fatalf("Compromise without a spare key = %v", err)
	}
	if want := (lifecycle.KeyType{Purpose: lifecycle.PurposeAccess, Algorithm: lifecycle.ES256}); missing.Type != want {
		t.Errorf("the missing key is %v, want %v", missing.Type, want)
	}
	in.Spare = lifecycle.Spare{missing.Type: newKey("a3", lifecycle.PurposeAccess, lifecycle.ES256, "")}
	p := lifecycle.NewPlan(in)
	if changed, err := p.Compromise("a1"); err != nil || !changed {
		t.Fatalf("Compromise = %t, %v", changed, err)
	}
	want := []string{"a1 compromised", "a2 active", "f1 active", "f2 next", "a3 next", "m1 active"}
	if diff := cmp.Diff(want, newKIDs(p)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if err := p.Set.Check(); err != nil {
		t.Errorf("the planned set: %v", err)
	}
	if diff := cmp.Diff(newSet(), set); diff != "" {
		t.Errorf("the input was changed (-before +after):\n%s", diff)
	}
}

func TestANextKeyIsReadyByTheMonotonicClockOnly(t *testing.T) {
	for name, tt := range map[string]struct {
		wall, mono time.Duration
		ready      bool
	}{
		"both clocks":                  {readyAfter, readyAfter, true},
		"a second less":                {readyAfter, readyAfter - time.Second, false},
		"the wall clock jumped a year": {365 * 24 * time.Hour, time.Second, false},
		"the wall clock stood still":   {0, readyAfter, true},
	} {
		t.Run(name, func(t *testing.T) {
			set, manual := newSet(), policy
			manual.RotateEvery = 0
			seen := lifecycle.Observations(nil).Observe(set, time.Hour)
			p := lifecycle.NewPlan(lifecycle.Input{Set: set, Policy: manual, Now: start.Add(tt.wall), Mono: time.Hour + tt.mono, Observed: seen})
			if err := p.ApplyDue(); err != nil {
				t.Fatal(err)
			}
			if next := p.Set.Find(lifecycle.PurposeAccess, lifecycle.StateNext); next.Ready != tt.ready {
				t.Errorf("ready = %t, want %t", next.Ready, tt.ready)
			}
		})
	}
}

// The store's times are in the time zone of the machine.
func TestTheRemovalOfARetiringKeyIsInUTC(t *testing.T) {
	set := newSet()
	retiring := newKey("a0", lifecycle.PurposeAccess, lifecycle.ES256, lifecycle.StateRetiring)
	retiring.LastTokenDies = start.Unix()
	set.Keys = slices.Insert(set.Keys, 0, retiring)
	lastExpiry := start.Add(time.Hour).In(time.FixedZone("east", 3600))
	seen := lifecycle.Observations{}.Observe(set, 0).NoteExpiry(lastExpiry, 0, 0)
	p := lifecycle.NewPlan(lifecycle.Input{Set: set, Policy: policy, Now: start, Observed: seen})
	got, want := p.List()[0].NextStepAt, lastExpiry.Add(time.Minute+policy.Margin).UTC()
	if got.Format(time.RFC3339) != want.Format(time.RFC3339) {
		t.Errorf("the key is removed at %s, want %s", got, want)
	}
}

func TestSetsThatBreakARuleAreRefused(t *testing.T) {
	if err := newSet().Check(); err != nil {
		t.Fatalf("a new set: %v", err)
	}
	for name, change := range map[string]func(*lifecycle.KeySet){
		"no next key":                  func(s *lifecycle.KeySet) { s.Keys = slices.Delete(s.Keys, 1, 2) },
		"two active keys":              func(s *lifecycle.KeySet) { s.Keys[1].State = lifecycle.StateActive },
		"a key twice":                  func(s *lifecycle.KeySet) { s.Keys[1].KID = "a1" },
		"a feed key that is not EdDSA": func(s *lifecycle.KeySet) { s.Keys[2].Algorithm = lifecycle.ES256 },
		"no active master secret":      func(s *lifecycle.KeySet) { s.Masters[0].State = lifecycle.StateRetiring },
		"a compromised key that signs": func(s *lifecycle.KeySet) { s.Compromised = []string{"a1"} },
	} {
		t.Run(name, func(t *testing.T) {
			set := newSet()
			change(set)
			if err := set.Check(); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}
