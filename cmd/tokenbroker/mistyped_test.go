package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestMistypedCommandsAndFlags(t *testing.T) {
	for args, want := range map[string]string{
		"stauts":               `unknown command or argument "stauts", did you mean status?`,
		"keys rotat":           `"rotat", did you mean rotate?`,
		"serve --conf x":       "unknown flag: --conf, did you mean --config?",
		"users list --ouptut=": "unknown flag: --ouptut, did you mean --output?",
		"serve --zzzzzz":       "unknown flag: --zzzzzz\nRun 'tokenbroker serve --help'",
		"zzzzzz":               "unknown command or argument \"zzzzzz\"\nRun 'tokenbroker --help'",
		"serve":                "give --config FILE or TOKENBROKER_CONFIG; 'tokenbroker config init tokenbroker.yaml' writes one",
	} {
		t.Setenv("TOKENBROKER_CONFIG", "")
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), nil, &stdout, &stderr); code == 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit %d, %s", args, code, &stderr)
		}
	}
}
