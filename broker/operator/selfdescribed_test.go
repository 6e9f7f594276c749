package operator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/operator"
	"tokenbroker/store"
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

// putRegistered stores a client that registered itself.
func putRegistered(t *testing.T, h *brokertest.Harness) directory.ClientRecord {
	t.Helper()
	stored := directory.NewClientRecord(broker.Client{
		ID: directory.NewRegisteredID(), Name: "App", Secret: "its secret", Scopes: []string{"openid"}, Grants: []string{"authorization_code"}, RedirectURIs: []string{"https://a.example/cb"},
	})
	stored.Dynamic, stored.CreatedAt = true, h.Clock.Now().Unix()
	stored.Registration = &directory.Registration{TokenHash: []byte("hash"), AuthMethod: "client_secret_basic", ApplicationType: "web", ExpiresAt: h.Clock.Now().Add(time.Hour).Unix()}
	write, err := stored.Write(0)
	if err != nil {
		t.Fatal(err)
	}
	if errs := h.Store.Commit(t.Context(), []store.Change{{Writes: []store.Write{write}}}, nil); errs[0] != nil {
		t.Fatal(errs)
	}
	return stored
}

func TestOperatorsKeepTheRegistrationOfAClient(t *testing.T) {
	h := brokertest.Start(t)
	stored := putRegistered(t, h)
	for what, change := range map[string]func() error{
		"an update": func() error {
			_, err := h.UpdateClient(t.Context(), stored.ID, operator.ClientSettings{Name: new("Another name")}, brokertest.Operator)
			return err
		},
		"another secret": func() error {
			_, err := h.RotateClientSecret(t.Context(), stored.ID, time.Minute, brokertest.Operator)
			return err
		},
		"a revocation": func() error {
			_, err := h.RevokeClient(t.Context(), stored.ID, "", brokertest.Operator)
			return err
		},
		"a reload of the configuration": func() error { return h.SetClients(t.Context(), []broker.Client{{ID: "b"}}) },
	} {
		if err := change(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(stored.Registration, record(t, h, stored.ID).Registration); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	h.Clock.Advance(time.Hour)
	if _, err := h.Store.Get(t.Context(), directory.ClientKey(stored.ID)); err == nil {
		t.Error("the changed client does not expire")
	}
}

// A store may round the expiry of a record up.
func TestAnExpiredClientIsUnknownToOperators(t *testing.T) {
	h := brokertest.Start(t)
	stored := putRegistered(t, h)
	value, err := h.Store.Get(t.Context(), directory.ClientKey(stored.ID))
	if err != nil {
		t.Fatal(err)
	}
	h.Clock.Advance(time.Hour)
	h.Put(t, value.Key, string(value.Value))
	_, err = h.Client(t.Context(), stored.ID)
	brokertest.WantCode(t, err, broker.CodeUnknownClient)
	if page, err := h.ListClients(t.Context(), operator.ClientQuery{}); err != nil || len(page.Clients) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestARegisteredClientCannotGetWhatItsClassDoesNotHave(t *testing.T) {
	h := brokertest.Start(t)
	stored := putRegistered(t, h)
	for name, change := range map[string]operator.ClientSettings{
		"first_party": {FirstParty: new(true)}, "audiences": {Audiences: []string{"bank"}}, "grants": {Grants: []string{"authorization_code", "client_credentials"}},
		"workloads":    {Workloads: []operator.Workload{{Issuer: "https://k8s.example", Subject: "s", Audience: "a"}}},
		"access_token": {AccessToken: new("1m")}, "session_idle": {SessionIdle: new("1h")}, "session_absolute": {SessionAbsolute: new("2h")}, "refresh_grace": {RefreshGrace: new("0s")},
	} {
		_, err := h.UpdateClient(t.Context(), stored.ID, change, brokertest.Operator)
		if app := brokertest.WantCode(t, err, broker.CodeInvalidClientConfig); !strings.Contains(app.Message, name+" ") {
			t.Errorf("%s: %s", name, app.Message)
		}
	}
}

func TestAnOperatorCannotAddAClientWithTheIDOfARegisteredOne(t *testing.T) {
	h := brokertest.Start(t)
	_, err := h.AddClient(t.Context(), operator.NewClient{ID: directory.NewRegisteredID(), Public: true}, brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeInvalidClientConfig)
	if _, err := h.AddClient(t.Context(), operator.NewClient{ID: "registered-by-hand", Public: true}, brokertest.Operator); err != nil {
		t.Error(err)
	}
}

func TestAnOperatorRemovesARegisteredClientUntilItsSessionsHaveExpired(t *testing.T) {
	h := brokertest.Start(t)
	stored := putRegistered(t, h)
	removed, err := h.RemoveClient(t.Context(), stored.ID, brokertest.Operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetClients(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := record(t, h, stored.ID); !got.Removed || got.Epoch != removed.Epoch {
		t.Errorf("%+v", got)
	}
	h.Clock.Advance(brokertest.Policy.Idle)
	if _, err := h.Store.Get(t.Context(), directory.ClientKey(stored.ID)); err == nil {
		t.Error("the record of a removed client stays permanently")
	}
}
