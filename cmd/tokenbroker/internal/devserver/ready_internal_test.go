package devserver

import (
	"strings"
	"testing"
)

func TestReadyTextNamesWhatIsDegraded(t *testing.T) {
	for want, degraded := range map[string][]string{
		"\ntokenbroker is ready.\n\n  broker ": nil,
		"\ntokenbroker is ready, but degraded:\n\n  nats: away\n  provider cognito: does not answer\n\n  broker ": {"nats: away", "provider cognito: does not answer"},
	} {
		var text strings.Builder
		if err := readyText.Execute(&text, map[string]any{"Degraded": degraded}); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(text.String(), want) {
			t.Errorf("it prints %.120q, want it to begin with %q", text.String(), want)
		}
	}
}
