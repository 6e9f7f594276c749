package setup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/config"
)

// The directory of the pages is read before the broker starts, and by `config check`.
func TestPagesDirectoryIsChecked(t *testing.T) {
	dir := t.TempDir()
	brand := filepath.Join(dir, "brand.yaml")
	loaded, err := config.Load(config.Options{File: writeConfig(t, onEtcd+"pages: {dir: "+dir+"}\n")})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"name: Example Ltd\n": "", "nme: Example Ltd\n": "brand.yaml"} {
		if err := os.WriteFile(brand, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		built, problems := setup.Build(t.Context(), loaded.Config)
		switch {
		case want == "" && (len(problems) > 0 || built.Node.Public.Look.Name != "Example Ltd"):
			t.Errorf("%q: %v", text, problems)
		case want != "" && (len(problems) != 1 || problems[0].Key != "pages.dir" || !strings.Contains(problems[0].Message, want)):
			t.Errorf("%q: %v", text, problems)
		}
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokenbroker.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
