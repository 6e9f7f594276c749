package revocation_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
)

const (
	aSID = "mfrggzdfmztwq2lknnwg23tpoa"
	aJTI = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
)

func TestDenylistHits(t *testing.T) {
	token := revocation.Subject{JTI: aJTI, SID: aSID, Sub: "ada", ClientID: "spa", KID: "k1", SEP: 10, CEP: 20}
	tests := map[string]struct {
		event revocation.Event
		want  bool
	}{
		"its jti":                   {revocation.Event{Kind: "jti", Value: aJTI}, true},
		"another jti":               {revocation.Event{Kind: "jti", Value: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c"}, false},
		"its jti in upper case":     {revocation.Event{Kind: "jti", Value: "0190A1B2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"}, false},
		"its sid":                   {revocation.Event{Kind: "sid", Value: aSID}, true},
		"its sid with stray bits":   {revocation.Event{Kind: "sid", Value: aSID[:25] + "b"}, false},
		"another sid":               {revocation.Event{Kind: "sid", Value: "n" + aSID[1:]}, false},
		"its sid's bytes as a jti":  {revocation.Event{Kind: "jti", Value: "61626364-6566-6768-696a-6b6c6d6e6f70"}, false},
		"its sub at a later epoch":  {revocation.Event{Kind: "sub", Value: "ada", Epoch: 11}, true},
		"its sub at its own epoch":  {revocation.Event{Kind: "sub", Value: "ada", Epoch: 10}, false},
		"another sub":               {revocation.Event{Kind: "sub", Value: "bob", Epoch: 11}, false},
		"its client, later epoch":   {revocation.Event{Kind: "client", Value: "spa", Epoch: 21}, true},
		"its client, its own epoch": {revocation.Event{Kind: "client", Value: "spa", Epoch: 20}, false},
		"all at a later epoch":      {revocation.Event{Kind: "all", Epoch: 11}, true},
		"all at its own epoch":      {revocation.Event{Kind: "all", Epoch: 10}, false},
		"its key":                   {revocation.Event{Kind: "kid", Value: "k1"}, true},
		"another key":               {revocation.Event{Kind: "kid", Value: "k2"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := revocation.NewDenylist()
			before := d.Version()
			d.Apply(tt.event)
			if got := d.Revoked(token); got != tt.want {
				t.Errorf("revoked %v, want %v", got, tt.want)
			}
			if d.Version() == before {
				t.Error("the version did not move")
			}
		})
	}
}

func TestDenylistTextsAreExact(t *testing.T) {
	d := revocation.NewDenylist()
	d.Apply(revocation.Event{Kind: "sid", Value: "short"}, revocation.Event{Kind: "jti", Value: aSID})
	for s, want := range map[revocation.Subject]bool{
		{SID: "short"}: true, {JTI: "short"}: false, {JTI: aSID}: true, {SID: aSID}: false, {}: false,
	} {
		if got := d.Revoked(s); got != want {
			t.Errorf("%+v revoked %v, want %v", s, got, want)
		}
	}
}

func TestDenylistCollects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := revocation.NewDenylist()
		sid := revocation.Subject{SID: aSID}
		apply := func(at, end int64) {
			d.Apply(revocation.Event{Kind: "sid", Value: aSID, At: at, ExpiresAt: end})
		}
		apply(1000, 1060)
		time.Sleep(59 * time.Second)
		// The broker's clock says it is past the end, but the length has not run here.
		if n := d.Collect(5000); n != 0 || !d.Revoked(sid) {
			t.Fatal("collected before its length had run")
		}
		apply(1000, 1060) // a replay prolongs nothing
		time.Sleep(time.Second)
		if n := d.Collect(1059); n != 0 || !d.Revoked(sid) {
			t.Fatal("collected before its end")
		}
		if n := d.Collect(1060); n != 1 || d.Revoked(sid) || d.Len() != 0 {
			t.Fatal("not collected at its end")
		}
		// The longest end wins, regardless of the order.
		apply(1000, 1100)
		apply(1000, 1050)
		time.Sleep(time.Hour)
		if n := d.Collect(1099); n != 0 || !d.Revoked(sid) {
			t.Fatal("a shorter event took the longer one's place")
		}
	})
}

func TestDenylistHighestEpochWins(t *testing.T) {
	d := revocation.NewDenylist()
	d.Apply(revocation.Event{Kind: "sub", Value: "ada", Epoch: 9}, revocation.Event{Kind: "sub", Value: "ada", Epoch: 5})
	if !d.Revoked(revocation.Subject{Sub: "ada", SEP: 8}) {
		t.Error("a lower epoch took the higher one's place")
	}
}

func TestDenylistCompromisedKeysStay(t *testing.T) {
	d := revocation.NewDenylist()
	d.SetKids([]string{"k1"})
	d.Apply(revocation.Event{Kind: "kid", Value: "k2"}, revocation.Event{Kind: "all", Epoch: 4},
		revocation.Event{Kind: "sid", Value: aSID, ExpiresAt: 1 << 40})
	version := d.Version()
	d.SetKids([]string{"k2"})
	if d.Version() != version {
		t.Error("nothing new moved the version")
	}
	d.Collect(1 << 40)
	d.DropStore()
	if d.Version() == version {
		t.Error("another store did not move the version")
	}
	for s, want := range map[revocation.Subject]bool{
		{KID: "k1"}: true, {KID: "k2"}: true, {SEP: 1}: false, {SID: aSID}: true,
	} {
		if d.Revoked(s) != want {
			t.Errorf("%+v: want %v", s, want)
		}
	}
	if !d.KidRevoked("k1") || d.KidRevoked("k3") {
		t.Error("KidRevoked differs")
	}
}

// TestDenylistOrder checks that any order and repetition of the same events leads to the same verdicts.
func TestDenylistOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var events []revocation.Event
	for i := range 300 {
		events = append(events, revocation.Event{
			Kind:  []revocation.Kind{"jti", "sid", "sub", "client", "all"}[r.IntN(5)],
			Value: fmt.Sprint("v", r.IntN(40)), Epoch: int64(r.IntN(50)), ExpiresAt: int64(i),
		})
		if events[i].Kind == "all" {
			events[i].Value = ""
			events[i].Epoch = int64(r.IntN(5))
		}
	}
	one, two := revocation.NewDenylist(), revocation.NewDenylist()
	one.Apply(events...)
	r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, e := range events {
		two.Apply(e)
		two.Apply(e)
	}
	if one.Len() != two.Len() {
		t.Fatalf("%d and %d entries", one.Len(), two.Len())
	}
	for range 2000 {
		v := func() string { return fmt.Sprint("v", r.IntN(60)) }
		s := revocation.Subject{JTI: v(), SID: v(), Sub: v(), ClientID: v(), SEP: int64(r.IntN(60)), CEP: int64(r.IntN(60))}
		if one.Revoked(s) != two.Revoked(s) {
			t.Fatalf("%+v: the order decides", s)
		}
	}
}
