package config_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"tokenbroker/config"
)

var rewrite = flag.Bool("rewrite", false, "write the table of the keys into README.md")

// The table stands between these two lines.
const (
	readmeBegin = "<!-- keys: go test ./config -run README -rewrite -->\n"
	readmeEnd   = "<!-- end of keys -->\n"
)

func TestREADMEHasTheTableOfTheKeys(t *testing.T) {
	const file = "../README.md"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), readmeBegin)
	table, after, ends := strings.Cut(rest, readmeEnd)
	if !begins || !ends {
		t.Fatalf("README.md has no %q … %q", readmeBegin, readmeEnd)
	}
	want := "\n" + config.ReferenceTable() + "\n"
	if table == want {
		return
	}
	if !*rewrite {
		t.Error("README.md's table of the keys is not what the configuration says: go test ./config -run README -rewrite")
		return
	}
	if err := os.WriteFile(file, []byte(before+readmeBegin+want+readmeEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
