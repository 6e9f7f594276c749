package operator_test

import (
	"crypto/sha256"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
)

func TestAClientCanBeConfiguredByTheHashOfItsSecret(t *testing.T) {
	h := brokertest.Start(t)
	sum := sha256.Sum256([]byte("s3cret"))
	if err := h.PutClient(t.Context(), broker.Client{ID: "svc", SecretHash: sum[:]}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AuthenticateClient(t.Context(), "svc", "s3cret"); err != nil {
		t.Error(err)
	}
	_, err := h.AuthenticateClient(t.Context(), "svc", string(sum[:]))
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
	if _, err := h.AuthenticateClient(t.Context(), "a", "secret of a"); err != nil {
		t.Error(err)
	}
	_, err := h.AuthenticateClient(t.Context(), "b.c", "secret of b")
	brokertest.WantCode(t, err, broker.CodeInvalidClient)
	set(a, b)
	if _, err := h.AuthenticateClient(t.Context(), "b.c", "secret of b"); err != nil {
		t.Error(err)
	}
}

// Any of the given forms of a secret may be the right one. An empty one never is.
func TestAClientsSecretMayBeFormEncodedOrNot(t *testing.T) {
	h := brokertest.Start(t)
	for _, client := range []broker.Client{{ID: "svc", Secret: "a+b"}, {ID: "public"}} {
		if err := h.PutClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	for _, secrets := range [][]string{{"a+b"}, {"a+b", "a b"}, {"a%2Bb", "a+b"}} {
		if info, err := h.AuthenticateClient(t.Context(), "svc", secrets...); err != nil || info.ID != "svc" {
			t.Errorf("%q: %+v, %v", secrets, info, err)
		}
	}
	for _, secrets := range [][]string{nil, {""}, {"a b"}, {"a%2Bb"}, {"a", "b"}, {"", "a+b"}} {
		_, err := h.AuthenticateClient(t.Context(), "svc", secrets...)
		brokertest.WantCode(t, err, broker.CodeInvalidClient)
		_, err = h.AuthenticateClient(t.Context(), "public", secrets...)
		brokertest.WantCode(t, err, broker.CodeInvalidClient)
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
	if info, err := h.AuthenticateClient(t.Context(), "svc", "s3cret"); err != nil || info.ID != "svc" {
		t.Errorf("%+v, %v", info, err)
	}
	for id, secret := range map[string]string{"svc": "other", "public": "", "nobody": "s3cret"} {
		_, err := h.AuthenticateClient(t.Context(), id, secret)
		brokertest.WantCode(t, err, broker.CodeInvalidClient)
	}
}
