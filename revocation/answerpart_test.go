package revocation_test

import (
	"bytes"
	"testing"

	"tokenbroker/revocation"
)

// TestAnswerInParts checks that the bytes do not depend on how the events are shared among parts.
func TestAnswerInParts(t *testing.T) {
	long := aLongAnswer()
	all := []*revocation.Answer{&long}
	for _, a := range answers {
		all = append(all, a)
	}
	for _, a := range all {
		var want bytes.Buffer
		if err := revocation.EncodeAnswer(&want, revocation.FormBinary, a); err != nil {
			continue
		}
		for _, parts := range []int{1, 2, 3, 7, len(a.Events) + 2} {
			b := revocation.NewAnswerBuilder(revocation.FormBinary)
			for i := range parts {
				var p revocation.AnswerPart
				for _, e := range a.Events[len(a.Events)*i/parts : len(a.Events)*(i+1)/parts] {
					text, err := revocation.AppendEvent(nil, e)
					if err != nil {
						t.Fatal(err)
					}
					if err := p.AddEncoded(text); err != nil {
						t.Fatal(err)
					}
				}
				if err := b.AddPart(&p); err != nil {
					t.Fatal(err)
				}
			}
			encoded, err := b.Finish(*a)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := encoded.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("%d events in %d parts: %v, other bytes", len(a.Events), parts, err)
			}
		}
	}
	if err := revocation.NewAnswerBuilder(revocation.FormJSON).AddPart(new(revocation.AnswerPart)); err == nil {
		t.Error("a JSON answer takes a part")
	}
}

// FuzzAddEncoded checks that a part accepts exactly what DecodeEvent accepts, with the same result.
func FuzzAddEncoded(f *testing.F) {
	for _, a := range answers {
		for _, e := range a.Events {
			if text, err := revocation.AppendEvent(nil, e); err == nil {
				f.Add(text)
			}
		}
	}
	first, err := revocation.AppendEvent(nil, revocation.Event{Kind: "sid", Value: aSID, At: 1700000000, ExpiresAt: 1700000900, Reason: "logoff"})
	if err != nil {
		f.Fatal(err)
	}
	head := revocation.Answer{V: 1, Store: "S", Origin: "O", Origins: []revocation.OriginHead{{Origin: "O"}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, wantErr := revocation.DecodeEvent(data)
		var p revocation.AnswerPart
		if err := p.AddEncoded(first); err != nil {
			t.Fatal(err)
		}
		err := p.AddEncoded(data)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%x: added %v, decoded %v", data, err, wantErr)
		}
		if err != nil {
			return
		}
		b := revocation.NewAnswerBuilder(revocation.FormBinary)
		if err := b.AddPart(&p); err != nil {
			t.Fatal(err)
		}
		encoded, err := b.Finish(head)
		if err != nil {
			t.Fatal(err)
		}
		got, err := revocation.DecodeBinaryAnswer(encoded.Reader())
		if err != nil || len(got.Events) != 2 || got.Events[1] != want {
			t.Fatalf("%x: %+v, %v; want %+v", data, got, err, want)
		}
	})
}
