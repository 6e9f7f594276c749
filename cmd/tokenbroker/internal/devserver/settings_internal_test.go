package devserver

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tokenbroker/broker"
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

// examples/mcp works with this server without a flag: clients that describe themselves get tokens for it.
func TestTheExampleOfMCPHasAnAudience(t *testing.T) {
	cfg, err := brokerSettings{Services: []string{"http://127.0.0.1:8082"}}.config(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Resources[MCPAudience]; got != MCPResource {
		t.Errorf("the resource of %s is %s", MCPAudience, got)
	}
	for class, policy := range map[string]broker.ClientPolicy{"documents": cfg.Documents.Policy, "registrations": cfg.Registration.Policy} {
		if !slices.Contains(policy.Audiences, MCPAudience) || !slices.Contains(policy.Audiences, Audience) || !slices.Contains(policy.Scopes, Scope) {
			t.Errorf("clients of %s may have %+v", class, policy)
		}
	}
	text, err := os.ReadFile(filepath.FromSlash("../../../../examples/mcp/main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{`"resource", "` + MCPResource, `"audience", "` + MCPAudience, `"scope", "` + Scope, `"client", "` + ServiceClient} {
		if !strings.Contains(string(text), flag) {
			t.Errorf("examples/mcp has no flag %s", flag)
		}
	}
}
