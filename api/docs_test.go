package api_test

import (
	"os"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"tokenbroker/api"
)

func httpDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDocsNameEveryCodeWithItsStatus(t *testing.T) {
	documented := map[string]int{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\d{3}) \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(httpDocument(t), -1) {
		if _, twice := documented[row[1]]; twice {
			t.Errorf("%s has two rows", row[1])
		}
		documented[row[1]], _ = strconv.Atoi(row[2])
	}
	if diff := cmp.Diff(api.CodeStatuses(), documented); diff != "" {
		t.Errorf("docs/http.md and the table in problem.go differ (-code +docs):\n%s", diff)
	}
}

func TestDocsNameEveryOperation(t *testing.T) {
	var want []string
	for _, file := range []string{"openapi.yaml", "openapi-admin.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Paths map[string]map[string]any `yaml:"paths"`
		}
		if err := yaml.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		for path, methods := range document.Paths {
			for _, method := range []string{"get", "post", "put", "patch", "delete"} {
				if operation := strings.ToUpper(method) + " " + path; methods[method] != nil && !slices.Contains(want, operation) {
					want = append(want, operation) // /livez and /readyz are on both listeners
				}
			}
		}
	}
	var got []string
	for _, heading := range regexp.MustCompile(`(?m)^### ([A-Z]+ /\S*)$`).FindAllStringSubmatch(httpDocument(t), -1) {
		got = append(got, heading[1])
	}
	sort.Strings(want)
	sort.Strings(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/http.md and the OpenAPI documents differ (-openapi +docs):\n%s", diff)
	}
}
