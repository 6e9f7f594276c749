package api_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"tokenbroker/api"
	"tokenbroker/api/feed"
	"tokenbroker/api/internal/apitest"
)

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
	document, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, heading := range regexp.MustCompile(`(?m)^### ([A-Z]+ /\S*)$`).FindAllStringSubmatch(string(document), -1) {
		got = append(got, heading[1])
	}
	sort.Strings(want)
	sort.Strings(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/http.md and the OpenAPI documents differ (-openapi +docs):\n%s", diff)
	}
}

// openapi.yaml is written by hand and must contain every path.
func TestOpenAPIDocumentsEveryPath(t *testing.T) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, m := range regexp.MustCompile(`(?m)^  (/\S*):$`).FindAllStringSubmatch(string(text), -1) {
		paths = append(paths, "/"+strings.Trim(m[1], "/"))
	}
	f := &apitest.Fake{}
	cfg := apitest.Config(f)
	apitest.WithRegistrations(f)(&cfg)
	cfg.Browser.Logins = &apitest.Logins{}
	cfg.Feed.Stream = noStream{}
	routes, err := api.Routes(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(paths)
	if diff := cmp.Diff(routes, paths); diff != "" {
		t.Errorf("paths (-router +openapi):\n%s", diff)
	}
}

// noStream is a stream that no one listens to.
type noStream struct{}

func (noStream) Listen(context.Context, feed.Reader) (feed.Listener, error) {
	return nil, errors.New("no stream")
}

// TestOpenAPIMembersHaveValues finds descriptions that are cut off: in {…}, an unquoted comma ends the
// text, and what follows it is a member without a value.
func TestOpenAPIMembersHaveValues(t *testing.T) {
	for _, file := range []string{"openapi.yaml", "openapi-admin.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var document yaml.Node
		if err := yaml.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		for nodes := []*yaml.Node{&document}; len(nodes) > 0; {
			node := nodes[0]
			nodes = append(nodes[1:], node.Content...)
			for i := 1; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
				if node.Content[i].Tag == "!!null" {
					t.Errorf("%s:%d: %q has no value", file, node.Content[i-1].Line, node.Content[i-1].Value)
				}
			}
		}
	}
}
