package devserver

import (
	"log/slog"
	"testing"
)

// The consent page says in words what each of the clients' own scopes is for.
func TestTheScopeOfTheSamplesHasWords(t *testing.T) {
	cfg, err := brokerSettings{Services: []string{"http://127.0.0.1:8082"}}.config(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.ScopeTexts[Scope]; got != "Read greetings from the demo services" {
		t.Errorf("the scope %s: %q", Scope, got)
	}
}
