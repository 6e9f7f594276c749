package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests that docs/promises.md names exist, and it names tests for every promise of the design.
func TestDocsPromises(t *testing.T) {
	text := readFile(t, "../../docs/promises.md")
	named := map[string]int{}
	promise := ""
	row := regexp.MustCompile(`^\| ([a-z/]+) \| (Test\w+) \|`)
	for line := range strings.Lines(text) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			promise, _, _ = strings.Cut(heading, ":")
			named[promise] = 0
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		named[promise]++
		if !hasTest(t, m[1], m[2]) {
			t.Errorf("%s: the test %s does not exist in %s", promise, m[2], m[1])
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^P\d `).FindAllString(readFile(t, "../../docs/design.md"), -1) {
		if p := strings.TrimSpace(line); named[p] == 0 {
			t.Errorf("docs/promises.md names no test of %s", p)
		}
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
