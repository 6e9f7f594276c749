package revocation_test

import (
	"testing"

	"tokenbroker/revocation"
)

// TestLoadingIsApplying: a denylist that was loaded is one to which the events were applied.
func TestLoadingIsApplying(t *testing.T) {
	long := aLongAnswer()
	all := []*revocation.Answer{&long}
	for _, a := range answers {
		all = append(all, a)
	}
	for _, a := range all {
		want, got := revocation.NewDenylist(), revocation.NewDenylist()
		want.Apply(a.Events...)
		l := got.Loader()
		for _, e := range a.Events {
			text, err := revocation.AppendEvent(nil, e)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.AddEncoded(text); err != nil {
				t.Fatal(err)
			}
			if err := l.AddEncoded(text[:len(text)-1]); err == nil {
				t.Fatalf("%x is taken without its end", text)
			}
		}
		l.Flush()
		if got.Len() != want.Len() || got.Inserted() != want.Inserted() {
			t.Errorf("%d entries of %d, want %d of %d", got.Len(), got.Inserted(), want.Len(), want.Inserted())
		}
		for _, e := range a.Events {
			s := revocation.Subject{}
			switch e.Kind {
			case revocation.KindJTI:
				s.JTI = e.Value
			case revocation.KindSID:
				s.SID = e.Value
			case revocation.KindSub:
				s.Sub, s.SEP = e.Value, e.Epoch-1
			}
			if got.Revoked(s) != want.Revoked(s) {
				t.Errorf("they differ in %+v", e)
			}
		}
		for floor := int64(1990); floor < 2001; floor++ { // nothing's length has run
			if got.Collect(floor) != want.Collect(floor) {
				t.Errorf("up to %d another number is collected", floor)
			}
		}
	}
}
