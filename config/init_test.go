package config_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tokenbroker/config"
)

func initFile(t testing.TB, opts config.InitOptions) string {
	t.Helper()
	var file bytes.Buffer
	if err := config.Init(&file, opts); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

func TestLoadAcceptsTheFileOfInit(t *testing.T) {
	cfg := mustLoad(t, config.Options{File: write(t, "c.yaml", initFile(t, config.InitOptions{}))}).Config
	if cfg.PublicURL != "http://127.0.0.1:8080" || filepath.Base(cfg.DataDir) != "tokenbroker-data" || !filepath.IsAbs(cfg.DataDir) || !cfg.Clients["my-service"].Secret.Set() || !cfg.Admin.Token.Set() {
		t.Errorf("%+v", cfg)
	}
	cfg = mustLoad(t, config.Options{File: write(t, "c.yaml", initFile(t, config.InitOptions{PublicURL: "https://auth.example.com", DataDir: "/a: #'\"b"}))}).Config
	if cfg.PublicURL != "https://auth.example.com" || cfg.DataDir != "/a: #'\"b" || len(cfg.TrustedProxies) != 1 {
		t.Errorf("%+v", cfg)
	}
}

func TestInitWritesTheListenersThatAreNamed(t *testing.T) {
	cfg := mustLoad(t, config.Options{File: write(t, "c.yaml", initFile(t, config.InitOptions{
		Listen: "127.0.0.1:18080", NATSListen: "127.0.0.1:14222", AdminListen: "127.0.0.1:18081",
	}))}).Config
	if cfg.Listen != "127.0.0.1:18080" || cfg.NATS.Listen != "127.0.0.1:14222" || cfg.Admin.Listen != "127.0.0.1:18081" || cfg.PublicURL != "http://127.0.0.1:18080" {
		t.Errorf("%s %s %s %s", cfg.Listen, cfg.NATS.Listen, cfg.Admin.Listen, cfg.PublicURL)
	}
	for _, opts := range []config.InitOptions{{Listen: "8080"}, {NATSListen: "a b"}, {AdminListen: "x"}} {
		if err := config.Init(&bytes.Buffer{}, opts); err == nil {
			t.Errorf("%+v was written", opts)
		}
	}
}

func TestInitRefusesOptionsThatLoadRefuses(t *testing.T) {
	var file bytes.Buffer
	err := config.Init(&file, config.InitOptions{PublicURL: "http://auth.example.com"})
	var ps config.Problems
	if !errors.As(err, &ps) || file.Len() > 0 {
		t.Errorf("Init = %v with %d bytes, want problems and nothing written", err, file.Len())
	}
}

// With the comment signs gone from the optional lines the file is a complete one: every
// key is there, known, and of the right type.
func TestInitShowsEveryKey(t *testing.T) {
	optional := regexp.MustCompile(`(?m)^( *)# ( *[a-z_]+:( |$))`)
	var lines []string
	for line := range strings.Lines(initFile(t, config.InitOptions{})) {
		lines = append(lines, optional.ReplaceAllString(line, "$1$2"))
	}
	file := strings.Join(lines, "")
	for _, d := range config.Reference() {
		name := d.Key[strings.LastIndexByte(d.Key, '.')+1:]
		if !strings.HasPrefix(name, "<") && !regexp.MustCompile(`(?m)^ *`+name+`:`).MatchString(file) {
			t.Errorf("%s is not in the file:\n%s", d.Key, file)
		}
	}
	_, err := config.Load(config.Options{File: write(t, "c.yaml", file)})
	for _, wrong := range []string{"not a key", "not yaml", "want ", "twice"} {
		if err != nil && strings.Contains(err.Error(), wrong) {
			t.Errorf("an optional line is no good: %v", err)
		}
	}
}

func TestEachInitGeneratesNewSecrets(t *testing.T) {
	secrets := regexp.MustCompile(`[A-Za-z0-9_-]{43}`)
	seen := map[string]bool{}
	for range 2 {
		for _, s := range secrets.FindAllString(initFile(t, config.InitOptions{}), -1) {
			if seen[s] {
				t.Errorf("%q twice", s)
			}
			seen[s] = true
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d secrets in two files, want 4", len(seen))
	}
}
