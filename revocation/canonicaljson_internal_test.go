package revocation

import (
	"encoding/json"
	"testing"

	strictjson "github.com/go-jose/go-jose/v4/json"
	"github.com/google/go-cmp/cmp"
)

// FuzzPlainMessage compares the plain reader with the JSON package.
func FuzzPlainMessage(f *testing.F) {
	batch := Batch{V: 1, Store: "s1", Origin: "o1", Seq: 7, At: 1700000000, Ack: true, Events: []Event{
		{Kind: KindSID, Value: "mfrggzdfmztwq2lknnwg23tpoa", ExpiresAt: 1700000400, At: 1700000000, Reason: ReasonLogoff},
		{Kind: KindSub, Value: "ada", ExpiresAt: 1700000400, At: 1700000000, Reason: "other", Epoch: 1700000000123},
		{Kind: KindAll, Epoch: 1},
	}}
	for _, events := range [][]Event{batch.Events, batch.Events[:1], {}} {
		batch.Events, batch.Ack = events, !batch.Ack
		text, err := json.Marshal(batch)
		if err != nil {
			f.Fatal(err)
		}
		if got, ok := plainBatch(text); !ok || !cmp.Equal(got, batch) {
			f.Errorf("%s is read as %+v, %v", text, got, ok)
		}
		f.Add(text)
	}
	text, err := json.Marshal(header{Alg: "EdDSA", KID: "k", Typ: HeartbeatType})
	if err != nil {
		f.Fatal(err)
	}
	if _, ok := plainHeader(text); !ok {
		f.Errorf("%s is not read", text)
	}
	f.Add(text)
	for _, heads := range []string{`{}`, `{"o1":8}`, `{"o1":8,"o2":0}`} {
		if _, ok := plainHeads(heads); !ok {
			f.Errorf("%s is not read", heads)
		}
		f.Add([]byte(heads))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, ok := plainHeads(string(text)); ok {
			var want map[string]uint64
			if err := strictjson.Unmarshal(text, &want); err != nil || !cmp.Equal(got, want) {
				t.Errorf("%s is read as %v, by the JSON package %v, %v", text, got, err, want)
			}
		}
		if got, ok := plainBatch(text); ok {
			var want Batch
			if err := strictjson.Unmarshal(text, &want); err != nil || !cmp.Equal(got, want) {
				t.Errorf("%s is read as %+v, by the JSON package %v, %+v", text, got, err, want)
			}
		}
		if got, ok := plainHeader(text); ok {
			var want header
			if err := strictjson.Unmarshal(text, &want); err != nil || got != want {
				t.Errorf("%s is read as %+v, by the JSON package %v, %+v", text, got, err, want)
			}
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	batch := Batch{V: 1, Store: "mfrggzdfmztwq2lknnwg23tpoa", Origin: "mfrggzdfmztwq2lknnwg23tpob", Seq: 7, At: 1700000000}
	for range 100 {
		batch.Events = append(batch.Events, Event{
			Kind: KindSID, Value: "mfrggzdfmztwq2lknnwg23tpoa", ExpiresAt: 1700000400, At: 1700000000, Reason: ReasonLogoff,
		})
	}
	text, err := json.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := plainBatch(text); !ok {
				b.Fatal("not plain")
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var got Batch
			if err := strictjson.Unmarshal(text, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}
