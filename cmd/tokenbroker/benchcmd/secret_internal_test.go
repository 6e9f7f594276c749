package benchcmd

import "testing"

func TestSecretsOfTheBench(t *testing.T) {
	const env = "TOKENBROKER_BENCH_PASSWORD"
	for text, ok := range map[string]bool{"": true, "one two": true, "one ": false, "one\ntwo": false} {
		t.Setenv(env, text)
		if got, err := secretOf(env); (err == nil) != ok || ok && got != text {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}
