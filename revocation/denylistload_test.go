package revocation_test

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"

	"tokenbroker/revocation"
)

// aLongAnswer has ids in both forms, some of them twice, and some events of all other kinds, over several
// pieces.
func aLongAnswer() revocation.Answer {
	a := revocation.Answer{
		V: 1, Store: "S", Origin: "O", Full: true, Origins: []revocation.OriginHead{{Origin: "O", Head: 3}}, Kids: []string{"k0"},
		Events: []revocation.Event{},
	}
	for n := range int64(10_000) {
		e := revocation.Event{Kind: revocation.KindJTI, Value: fmt.Sprintf("0190a1b2-c3d4-7e5f-8a9b-%012x", n), At: 1000 + n%7, ExpiresAt: 2000 - n%5, Reason: "logoff"}
		switch {
		case n%100 == 0:
			e.Value = fmt.Sprint("odd-", n)
		case n%101 == 0:
			e.Kind, e.Value, e.Epoch = revocation.KindSub, fmt.Sprint("u", n), n
		case n%3 == 0:
			e.Kind, e.Value = revocation.KindSID, string(rune('a'+n%26))+aSID[1:]
		}
		a.Events = append(a.Events, e)
	}
	return a
}

// TestReadAnswerEqualsDecodeAndApply checks that both ways have the same result.
func TestReadAnswerEqualsDecodeAndApply(t *testing.T) {
	all := map[string]revocation.Answer{"long": aLongAnswer()}
	for name, a := range answers {
		all[name] = *a
	}
	for name, a := range all {
		for _, limit := range []int{0, 50} {
			t.Run(fmt.Sprint(name, "/", limit), func(t *testing.T) {
				var text bytes.Buffer
				if err := revocation.EncodeAnswer(&text, revocation.FormBinary, &a); err != nil {
					t.Skip(err)
				}
				one, two := revocation.NewDenylist(), revocation.NewDenylist()
				if limit > 0 {
					one, two = revocation.NewCappedDenylist(limit), revocation.NewCappedDenylist(limit)
				}
				var watched []revocation.Event
				defer two.Watch(func(events []revocation.Event) { watched = append(watched, slices.Clone(events)...) })()
				decoded, err := revocation.DecodeBinaryAnswer(bytes.NewReader(text.Bytes()))
				if err != nil {
					t.Fatal(err)
				}
				one.Apply(decoded.Events...)
				got, err := two.ReadAnswer(bytes.NewReader(text.Bytes()))
				if err != nil {
					t.Fatal(err)
				}
				two.Apply(got.Events...)
				if len(watched) != len(decoded.Events) {
					t.Errorf("%d events were watched, want %d", len(watched), len(decoded.Events))
				}
				slices.SortFunc(watched, byValue)
				slices.SortFunc(decoded.Events, byValue)
				for i, e := range decoded.Events {
					if o := watched[i]; o.Kind != e.Kind || o.Value != e.Value || o.ExpiresAt != e.ExpiresAt || o.Epoch != e.Epoch {
						t.Fatalf("watched %+v, want %+v", o, e)
					}
				}
				if got.Store != decoded.Store || got.Full != decoded.Full || !slices.Equal(got.Origins, decoded.Origins) || !slices.Equal(got.Kids, decoded.Kids) {
					t.Errorf("got %+v", got)
				}
				if one.Inserted() != two.Inserted() || one.Len() != two.Len() {
					t.Errorf("%d and %d inserted, %d and %d kept", one.Inserted(), two.Inserted(), one.Len(), two.Len())
				}
				for _, e := range decoded.Events {
					s := revocation.Subject{}
					switch e.Kind {
					case revocation.KindJTI:
						s.JTI = e.Value
					case revocation.KindSID:
						s.SID = e.Value
					}
					if limit == 0 && one.Revoked(s) != two.Revoked(s) {
						t.Fatalf("they differ in %+v", e)
					}
				}
			})
		}
	}
}

// byValue orders events without their reason.
func byValue(a, b revocation.Event) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Value, b.Value), cmp.Compare(a.ExpiresAt, b.ExpiresAt), cmp.Compare(a.At, b.At))
}

// TestAPartOfAnAnswerIsAnError truncates an answer at every place.
func TestAPartOfAnAnswerIsAnError(t *testing.T) {
	a := aLongAnswer()
	var text bytes.Buffer
	if err := revocation.EncodeAnswer(&text, revocation.FormBinary, &a); err != nil {
		t.Fatal(err)
	}
	whole := text.Bytes()
	for cut := 0; cut < len(whole); cut += 1 + cut/20 {
		if _, err := revocation.NewDenylist().ReadAnswer(bytes.NewReader(whole[:cut])); err == nil {
			t.Errorf("cut to %d of %d bytes it is taken", cut, len(whole))
		}
	}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 1
	if _, err := revocation.NewDenylist().ReadAnswer(bytes.NewReader(damaged)); err == nil {
		t.Error("damaged it is taken")
	}
}

// TestLoaderEqualsApply checks that loading and applying the same events has the same result.
func TestLoaderEqualsApply(t *testing.T) {
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
