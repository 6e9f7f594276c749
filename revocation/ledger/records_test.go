package ledger

import (
	"strings"
	"testing"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

func TestEventRecord(t *testing.T) {
	want := eventRecord{Origin: strings.Repeat("o", 26), Seq: 1 << 50, Event: revocation.Event{
		Kind: revocation.KindSub, Value: "ada ❦", At: 1000, ExpiresAt: 1900, Epoch: 7, Reason: revocation.ReasonRevoked, By: "uid 0",
	}}
	data, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeEvent(store.Record{Value: data}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for i := range data {
		data[i] ^= 1
		if got, err := decodeEvent(store.Record{Value: data}); err == nil {
			t.Errorf("with byte %d damaged it reads as %+v", i, got)
		}
		data[i] ^= 1
		if got, err := decodeEvent(store.Record{Value: data[:i]}); err == nil {
			t.Errorf("cut to %d bytes it reads as %+v", i, got)
		}
	}
}

func TestEventRecordOfVersion1(t *testing.T) {
	text := `{"v":1,"origin":"o1","seq":3,"event":{"kind":"sid","value":"s1","expires_at":1900,"at":1000,"reason":"logoff"}}`
	got, err := decodeEvent(store.Record{Value: []byte(text)})
	want := eventRecord{Origin: "o1", Seq: 3, Event: revocation.Event{
		Kind: revocation.KindSID, Value: "s1", At: 1000, ExpiresAt: 1900, Reason: revocation.ReasonLogoff,
	}}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}
