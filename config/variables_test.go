package config_test

import (
	"slices"
	"testing"

	"tokenbroker/config"
)

func TestVariablesReturnsConfigurationVariables(t *testing.T) {
	got := config.Variables([]string{
		"HOME=/root", "TOKENBROKER_ORIGINS=http://localhost:5173", "TOKENBROKER_LISTEN=127.0.0.1:1", "TOKENBROKER_KEYRING_KEK=secret",
		"TOKENBROKER_CLIENTS_ORDERS_SECRET_FILE=/x", "TOKENBROKER_ORIGIN=misspelled",
		"TOKENBROKER_ADMIN=http://127.0.0.1:8081", "TOKENBROKER_PORT=tcp://10.0.0.1:8080", "TOKENBROKER_SERVICE_HOST=10.0.0.1",
	})
	want := []string{"TOKENBROKER_CLIENTS_ORDERS_SECRET_FILE", "TOKENBROKER_KEYRING_KEK", "TOKENBROKER_LISTEN", "TOKENBROKER_ORIGIN", "TOKENBROKER_ORIGINS"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
