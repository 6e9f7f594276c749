package revocation_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
)

func TestSeparateEvent(t *testing.T) {
	for name, answer := range answers {
		for _, e := range answer.Events {
			data, err := revocation.AppendEvent([]byte("before"), e)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			data = data[len("before"):]
			got, err := revocation.DecodeEvent(data)
			if err != nil || got != e {
				t.Errorf("%s: %v, %s", name, err, cmp.Diff(e, got))
			}
			for cut := range data {
				part := bytes.Clone(data[:cut])
				if _, err := revocation.DecodeEvent(part); err == nil {
					t.Errorf("%s: taken when cut to %d of %d bytes", name, cut, len(data))
				}
				if !bytes.Equal(part, data[:cut]) {
					t.Errorf("%s: cut to %d bytes, they are changed", name, cut)
				}
			}
			if _, err := revocation.DecodeEvent(append(data, 0)); err == nil {
				t.Errorf("%s: taken with a byte too many", name)
			}
		}
	}
	if _, err := revocation.AppendEvent(nil, revocation.Event{Kind: "planet", Value: "x"}); err == nil {
		t.Error("an unknown kind is encoded")
	}
}

// FuzzDecodeEvent checks that every accepted event has only one encoding.
func FuzzDecodeEvent(f *testing.F) {
	for _, answer := range answers {
		for _, e := range answer.Events {
			data, err := revocation.AppendEvent(nil, e)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		e, err := revocation.DecodeEvent(data)
		if string(data) != before {
			t.Fatalf("%x was changed to %x", before, data)
		}
		if err != nil {
			return
		}
		again, err := revocation.AppendEvent(nil, e)
		if err != nil || string(again) != before {
			t.Errorf("%x reads as %+v, which is written %x (%v)", before, e, again, err)
		}
	})
}
