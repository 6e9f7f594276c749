package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func FuzzDuration(f *testing.F) {
	for _, d := range []int64{0, 1, int64(time.Second), int64(10 * time.Minute), int64(36 * time.Hour), -int64(config.Day), 1<<63 - 1, -1 << 63} {
		f.Add(d, config.Duration(d).String())
	}
	f.Fuzz(func(t *testing.T, ns int64, text string) {
		if back, err := config.ParseDuration(config.Duration(ns).String()); err != nil || back != config.Duration(ns) {
			t.Errorf("%d is written %q and read as %d, %v", ns, config.Duration(ns), back, err)
		}
		if d, err := config.ParseDuration(text); err == nil && text[len(text)-1] <= '9' {
			t.Errorf("%q without unit is %v", text, d)
		}
	})
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]string{
		"90s": "1m30s", "5m": "5m", "36h": "1d12h", "14d": "14d", "1d12h30m": "1d12h30m", "-2d": "-2d", "0s": "0s", "0d": "0s", "1h0m10s": "1h0m10s", "24h": "1d", "10m": "10m", "1.5h": "1h30m",
		"": "", "0": "", "3600": "", "d": "", "1d-1h": "", "1d24h": "", "1.5d": "", "1d0": "", "200000d": "", "1w": "", "--1d": "", "+1d": "",
	} {
		d, err := config.ParseDuration(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q is read as %v", text, d)
			}
			continue
		}
		var read config.Duration
		if err := read.UnmarshalText([]byte(text)); err != nil || read != d {
			t.Errorf("UnmarshalText(%q) = %v, %v", text, read, err)
		}
		if err != nil || d.String() != want {
			t.Errorf("%q is read as %v, %v, want %s", text, d, err, want)
		}
	}
}
