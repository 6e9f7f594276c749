package operator_test

import (
	"crypto/sha256"
	"log/slog"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/oauthclient"
)

// authenticate authenticates a client by its secret.
func authenticate(t *testing.T, h *brokertest.Harness, id, secret string) (broker.ClientInfo, error) {
	t.Helper()
	clients := oauthclient.New(oauthclient.Config{Path: h.Path, Store: h.Store, Clock: h.Clock, Logger: slog.New(slog.DiscardHandler)})
	return clients.AuthenticateClient(t.Context(), broker.ClientCredentials{ID: id, Secrets: []string{secret}}, brokertest.Request)
}

func TestAClientCanBeConfiguredByTheHashOfItsSecret(t *testing.T) {
	h := brokertest.Start(t)
	sum := sha256.Sum256([]byte("s3cret"))
	if err := h.PutClient(t.Context(), broker.Client{ID: "svc", SecretHash: sum[:]}); err != nil {
		t.Fatal(err)
	}
	if _, err := authenticate(t, h, "svc", "s3cret"); err != nil {
		t.Error(err)
	}
	_, err := authenticate(t, h, "svc", string(sum[:]))
	brokertest.WantCode(t, err, broker.CodeInvalidClient)
}

// A client that is removed from the configuration is refused after the next start, and accepted again
// when it is back.
func TestSetClientsRemovesOtherClients(t *testing.T) {
	h := brokertest.Start(t)
	a, b := broker.Client{ID: "a", Secret: "secret of a"}, broker.Client{ID: "b.c", Secret: "secret of b"}
	set := func(clients ...broker.Client) {
		t.Helper()
		if err := h.SetClients(t.Context(), clients); err != nil {
			t.Fatal(err)
		}
	}
	set(a, b)
	set(a)
	if _, err := authenticate(t, h, "a", "secret of a"); err != nil {
		t.Error(err)
	}
	_, err := authenticate(t, h, "b.c", "secret of b")
	brokertest.WantCode(t, err, broker.CodeInvalidClient)
	set(a, b)
	if _, err := authenticate(t, h, "b.c", "secret of b"); err != nil {
		t.Error(err)
	}
}

func TestClients(t *testing.T) {
	h := brokertest.Start(t)
	client := broker.Client{ID: "svc", Secret: "s3cret", Scopes: []string{"hello:read"}}
	for range 2 {
		if err := h.PutClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.PutClient(t.Context(), broker.Client{ID: "public"}); err != nil {
		t.Fatal(err)
	}
	if info, err := authenticate(t, h, "svc", "s3cret"); err != nil || info.ID != "svc" {
		t.Errorf("%+v, %v", info, err)
	}
	for id, secret := range map[string]string{"svc": "other", "public": "s3cret", "nobody": "s3cret"} {
		_, err := authenticate(t, h, id, secret)
		brokertest.WantCode(t, err, broker.CodeInvalidClient)
	}
}
