package operator_test

import (
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
)

// documentURL is the id of a client with a metadata document.
const documentURL = "https://app.example.com/client.json"

func TestRevokingAClientOfADocumentKeepsItsEpoch(t *testing.T) {
	h := brokertest.Start(t)
	long := "https://app.example.com/" + strings.Repeat("a", 512-24)
	for _, id := range []string{documentURL, "http://127.0.0.1:4711/client.json", long} {
		first, err := h.RevokeClient(t.Context(), id, "", brokertest.Operator)
		if err != nil || first.Value != id || first.Epoch == 0 {
			t.Fatalf("%s: %+v, %v", id, first, err)
		}
		h.Clock.Advance(time.Second)
		second, err := h.RevokeClient(t.Context(), id, "", brokertest.Operator)
		if err != nil || second.Epoch <= first.Epoch {
			t.Errorf("%s: %+v, %v", id, second, err)
		}
		if got := record(t, h, id); !got.Document || !got.Dynamic || got.Removed || got.Epoch != second.Epoch || got.Class() != broker.ClassDocument {
			t.Errorf("%s: %+v", id, got)
		}
		if info, err := h.Client(t.Context(), id); err != nil || info.Class != broker.ClassDocument {
			t.Errorf("%+v, %v", info, err)
		}
	}
	if err := h.SetClients(t.Context(), nil); err != nil { // as a start or a reload does
		t.Fatal(err)
	}
	if got := record(t, h, documentURL); got.Removed || got.Epoch == 0 {
		t.Errorf("after a reload: %+v", got)
	}
	for id, code := range map[string]broker.Code{
		"https://app.example.com":                  broker.CodeInvalidRevocation,
		"http://app.example.com/client.json":       broker.CodeInvalidRevocation,
		"https://u:p@app.example.com/client.json":  broker.CodeInvalidRevocation,
		"https://app.example.com/a/../client.json": broker.CodeInvalidRevocation,
		long + "a":                          broker.CodeInvalidRevocation,
		"ftp://app.example.com/client.json": broker.CodeUnknownClient,
	} {
		_, err := h.RevokeClient(t.Context(), id, "", brokertest.Operator)
		brokertest.WantCode(t, err, code)
	}
}

func TestAClientOfADocumentCannotBeChanged(t *testing.T) {
	h := brokertest.Start(t)
	for range 2 { // without a record, then with one
		_, err := h.RemoveClient(t.Context(), documentURL, brokertest.Operator)
		if app := brokertest.WantCode(t, err, broker.CodeInvalidClientConfig); !strings.Contains(app.Message, "oauth.cimd.hosts") {
			t.Error(app.Message)
		}
		_, err = h.UpdateClient(t.Context(), documentURL, operator.ClientSettings{FirstParty: new(true)}, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeInvalidClientConfig)
		_, err = h.RotateClientSecret(t.Context(), documentURL, 0, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeInvalidClientConfig)
		_, err = h.AddClient(t.Context(), operator.NewClient{ID: documentURL, Public: true}, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeInvalidClientConfig)
		if _, err := h.RevokeClient(t.Context(), documentURL, "", brokertest.Operator); err != nil {
			t.Fatal(err)
		}
	}
}
