package node

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/keyring"
	"tokenbroker/store/memstore"
)

func TestOutdatedKeyringIsUnavailable(t *testing.T) {
	sealer, err := keyring.NewAESGCM(bytes.Repeat([]byte{1}, keyring.KEKSize))
	if err != nil {
		t.Fatal(err)
	}
	var mono time.Duration
	ring, err := keyring.Open(t.Context(), keyring.Config{
		Store: keyringStore{memstore.New(time.Now)}, Sealer: sealer, StoreID: "store-1", Shared: true,
		Mono: func() time.Duration { return mono },
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := brokerKeys{ring}
	for _, outdated := range []bool{false, true} {
		_, signed := keys.SignAccessToken(t.Context(), []byte(`{}`))
		for what, err := range map[string]error{"SignAccessToken": signed, "Outdated": keys.Outdated()} {
			var app *broker.Error
			if errors.As(err, &app) != outdated || err != nil != outdated {
				t.Errorf("%s = %v, want an application error: %t", what, err, outdated)
			} else if outdated && (app.Code != broker.CodeUnavailable || app.RetryAfter == 0) {
				t.Errorf("%s = %+v", what, app)
			}
		}
		if body, _, _ := document(ring.JWKS)(); (len(body) == 0) != outdated {
			t.Errorf("the JWK set has %d bytes", len(body))
		}
		mono = time.Hour
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	mono = 0
	if _, err := keys.SignAccessToken(gone, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("SignAccessToken of a cancelled request = %v", err)
	}
}
