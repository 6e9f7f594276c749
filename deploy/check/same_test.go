package check

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// hashed is the name of the ConfigMap. The two tools hash differently.
var hashed = regexp.MustCompile(`"tokenbroker-[a-z0-9]{10}"`)

// normal returns an object without what may differ: the hash of the configuration, comments and order in it, and the
// annotation by which Helm keeps the ConfigMap of the last release.
func normal(t *testing.T, o object) (same map[string]any) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(hashed.ReplaceAll(text, []byte(`"tokenbroker-HASH"`)), &same); err != nil {
		t.Fatal(err)
	}
	if o["kind"] == "ConfigMap" {
		data := same["data"].(map[string]any)
		var configuration map[string]any
		if err := yaml.UnmarshalStrict([]byte(data["tokenbroker.yaml"].(string)), &configuration); err != nil {
			t.Fatal(err)
		}
		data["tokenbroker.yaml"] = configuration
		delete(same["metadata"].(map[string]any), "annotations")
	}
	return same
}

func TestKustomizeAndHelmRenderTheSame(t *testing.T) {
	for _, v := range variants {
		t.Run(v.overlay, func(t *testing.T) {
			ours := kustomized(t, v.overlay)
			theirs, err := charted(t, v.values, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(ours) != len(theirs) {
				t.Fatalf("kustomize renders %v, Helm %v", ours, theirs)
			}
			for i := range ours {
				a, b := normal(t, ours[i]), normal(t, theirs[i])
				if !reflect.DeepEqual(a, b) {
					left, _ := yaml.Marshal(a)
					right, _ := yaml.Marshal(b)
					t.Errorf("%s differs:\n--- kustomize\n%s\n--- Helm\n%s", ours[i], left, right)
				}
			}
		})
	}
}

// Another configuration has another name, so that the brokers are replaced.
func TestConfigurationChangesTheHash(t *testing.T) {
	before, err := charted(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	after, err := charted(t, "", map[string]any{"config": map[string]any{"log": map[string]any{"level": "debug"}}})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := named(t, before, "ConfigMap", ""), named(t, after, "ConfigMap", ""); a.String() == b.String() {
		t.Errorf("%s has the same name with another configuration", a)
	}
	if name := named(t, kustomized(t, "single"), "ConfigMap", "").String(); !hashed.MatchString(`"` + strings.TrimPrefix(name, "ConfigMap ") + `"`) {
		t.Errorf("%s has no hash", name)
	}
}

func TestChartRefusesWrongNumbersOfBrokers(t *testing.T) {
	for _, c := range []struct {
		values   string
		replicas int
		want     string
	}{{"", 2, "the embedded store has one broker"}, {"values-etcd.yaml", 2, "set replicas to 3"}} {
		if _, err := charted(t, c.values, map[string]any{"replicas": c.replicas}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d brokers with %q: %v", c.replicas, c.values, err)
		}
	}
}

// The kustomization of docs/kubernetes.md replaces the image and the configuration.
func TestDocumentedKustomizationReplacesImageAndConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, fence, ok := strings.Cut(string(text), "```yaml (kustomization)\n")
	fence, _, _ = strings.Cut(fence, "```")
	base := regexp.MustCompile(`https://\S+//deploy/kubernetes/(\S+)\?ref=\S+`)
	if !ok || !base.MatchString(fence) {
		t.Fatal("docs/kubernetes.md has no kustomization")
	}
	dir := t.TempDir()
	overlays, err := filepath.Abs("../kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(dir, overlays)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"kustomization.yaml": base.ReplaceAllString(fence, filepath.ToSlash(relative)+"/$1"), "tokenbroker.yaml": "log: {level: debug}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := rendered(t, dir)
	for name, template := range pods(t, all) {
		if image := template.Spec.Containers[0].Image; image != "images.example.com/tokenbroker:v0.1.0" {
			t.Errorf("%s runs %s", name, image)
		}
	}
	configuration := typed[*corev1.ConfigMap](t, all, "ConfigMap", "")
	if configuration.Data["tokenbroker.yaml"] != "log: {level: debug}\n" {
		t.Errorf("the configuration is %q", configuration.Data)
	}
	for _, v := range pods(t, all)["tokenbroker"].Spec.Volumes {
		if v.ConfigMap != nil && v.ConfigMap.Name != configuration.Name {
			t.Errorf("the brokers mount %s, the configuration is %s", v.ConfigMap.Name, configuration.Name)
		}
	}
}
