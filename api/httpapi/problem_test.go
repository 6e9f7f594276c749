package httpapi_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/web"
)

func TestDocsNameEveryCodeWithItsStatus(t *testing.T) {
	text, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]int{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\d{3}) \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1) {
		if _, twice := documented[row[1]]; twice {
			t.Errorf("the code %s has two rows", row[1])
		}
		documented[row[1]], _ = strconv.Atoi(row[2])
	}
	if diff := cmp.Diff(httpapi.CodeStatuses(), documented); diff != "" {
		t.Errorf("docs/http.md and the table in problem.go differ (-code +docs):\n%s", diff)
	}
}

// openapi.yaml and openapi-admin.yaml are written by hand and must contain the codes of their listener.
func TestOpenAPIDocumentsEveryCode(t *testing.T) {
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, m := range regexp.MustCompile(`(?m)^            - ([a-z_]+)$`).FindAllStringSubmatch(string(text), -1) {
		codes = append(codes, m[1])
	}
	if diff := cmp.Diff(httpapi.PublicCodes(), codes); diff != "" {
		t.Errorf("codes (-table +openapi):\n%s", diff)
	}

	if text, err = os.ReadFile("../openapi-admin.yaml"); err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			Schemas struct {
				Problem struct {
					Properties struct {
						Code struct{ Enum []string }
					}
				} `yaml:"Problem"`
			}
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	codes = document.Components.Schemas.Problem.Properties.Code.Enum
	for _, code := range httpapi.AdminCodes() {
		if !slices.Contains(codes, code) {
			t.Errorf("openapi-admin.yaml lacks the code %s", code)
		}
	}
	known := append(httpapi.PublicCodes(), httpapi.AdminCodes()...)
	for _, code := range codes {
		if !slices.Contains(known, code) {
			t.Errorf("openapi-admin.yaml names the code %s, which does not exist", code)
		}
	}
}

// The SDK's types name every code that the public listener answers with.
func TestTypesOfTheSDKNameEveryCode(t *testing.T) {
	types, err := web.Files.ReadFile("client.d.ts")
	if err != nil {
		t.Fatal(err)
	}
	_, union, _ := strings.Cut(string(types), "type BrokerErrorCode =")
	union, _, _ = strings.Cut(union, ";")
	var named []string
	for _, m := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(union, -1) {
		named = append(named, m[1])
	}
	answered := append(httpapi.PublicCodes(), "invalid_parameter") // of ?wait, which both listeners have
	slices.Sort(answered)
	if diff := cmp.Diff(answered, named); diff != "" {
		t.Errorf("client.d.ts differs (-answered +named):\n%s", diff)
	}
}
