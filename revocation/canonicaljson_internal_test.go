package revocation

import (
	"encoding/json"
	"testing"

	strictjson "github.com/go-jose/go-jose/v4/json"
	"github.com/google/go-cmp/cmp"
)

// FuzzCanonical: what is read member by member is what the JSON package reads, too.
func FuzzCanonical(f *testing.F) {
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
		if got, ok := canonicalBatch(text); !ok || !cmp.Equal(got, batch) {
			f.Errorf("%s is read as %+v, %v", text, got, ok)
		}
		f.Add(text)
	}
	text, err := json.Marshal(header{Alg: "EdDSA", KID: "k", Typ: HeartbeatType})
	if err != nil {
		f.Fatal(err)
	}
	if _, ok := canonicalHeader(text); !ok {
		f.Errorf("%s is not read", text)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, ok := canonicalBatch(text); ok {
			var want Batch
			if err := strictjson.Unmarshal(text, &want); err != nil || !cmp.Equal(got, want) {
				t.Errorf("%s is read as %+v, by the JSON package %v, %+v", text, got, err, want)
			}
		}
		if got, ok := canonicalHeader(text); ok {
			var want header
			if err := strictjson.Unmarshal(text, &want); err != nil || got != want {
				t.Errorf("%s is read as %+v, by the JSON package %v, %+v", text, got, err, want)
			}
		}
	})
}
