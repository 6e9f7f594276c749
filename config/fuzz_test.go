package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/config"
)

// Whatever the file, the environment and the flags say: a configuration or Problems that
// can be shown, and no panic.
func FuzzLoad(f *testing.F) {
	for _, content := range base {
		f.Add(content, "LOG_LEVEL", "debug")
	}
	f.Add("a: [", "CLIENTS_X_SECRET", "")
	f.Add("clients: {x: , y: {secret: z}, ? [a] : b}\nclaims: {computed: {x: 1}}", "CLIENTS_X_SECRET", "*")
	f.Add("x: &a [*a]\nlog: {<<: *a}\n---\n", "PORT", "tcp://x")
	f.Add("public_url: 'https://[::1%25x]:99999'\norigins: ['http://:0', 'null']\nlisten: '[:'", "NATS_URL", "nats://,")
	f.Add("!!binary a: !!int b\nlifetimes: {access_token: 999999999999d}", "LIFETIMES_JWKS_CACHE", "106751d23h")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content, name, value string) {
		if strings.Contains(content+name, "_file") || strings.Contains(name, "_FILE") {
			t.Skip("opens what the fuzzer names")
		}
		file := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		key := strings.ToLower(strings.ReplaceAll(name, "_", "."))
		for _, opts := range []config.Options{{File: file, Environ: []string{"TOKENBROKER_" + name + "=" + value}}, {File: file, Flags: map[string]string{key: value}}} {
			loaded, err := config.Load(opts)
			var ps config.Problems
			switch {
			case err == nil:
				if err := loaded.Print(&strings.Builder{}, "text"); err != nil {
					t.Error(err)
				}
			case !errors.As(err, &ps) || len(ps) == 0 || ps.Error() == "":
				t.Errorf("error %#v, want Problems", err)
			}
		}
	})
}
