package config_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"tokenbroker/config"
)

var rewrite = flag.Bool("rewrite", false, "write the table of the keys into docs/configuration.md")

// The table is between these two lines.
const (
	tableBegin = "<!-- keys: go test ./config -run Configuration -rewrite -->\n"
	tableEnd   = "<!-- end of keys -->\n"
)

func TestConfigurationDocumentHasEveryKey(t *testing.T) {
	const file = "../docs/configuration.md"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), tableBegin)
	table, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatalf("docs/configuration.md has no %q … %q", tableBegin, tableEnd)
	}
	want := "\n" + config.ReferenceTable() + "\n"
	if table == want {
		return
	}
	if !*rewrite {
		t.Error("the table of docs/configuration.md differs from the configuration's keys: go test ./config -run Configuration -rewrite")
		return
	}
	if err := os.WriteFile(file, []byte(before+tableBegin+want+tableEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
