package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// object is a Kubernetes object as it is written.
type object map[string]any

// String returns kind and name.
func (o object) String() string {
	meta, _ := o["metadata"].(map[string]any)
	return fmt.Sprint(o["kind"], " ", meta["name"])
}

// variants are the overlays of kustomize and the values of the chart that render the same.
var variants = []struct{ overlay, values string }{
	{"single", ""}, {"cluster", "values-etcd.yaml"}, {"cluster-postgres", "values-postgres.yaml"},
}

// kustomized renders an overlay.
func kustomized(t *testing.T, overlay string) []object {
	t.Helper()
	return rendered(t, "../kubernetes/overlays/"+overlay)
}

// rendered renders a directory with kustomize.
func rendered(t *testing.T, dir string) []object {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, string(text))
}

// charted renders the chart with one of its files of values, if any, and others that override them.
func charted(t *testing.T, file string, override map[string]any) ([]object, error) {
	t.Helper()
	chart, err := loader.Load("../helm/tokenbroker")
	if err != nil {
		t.Fatal(err)
	}
	values := chartutil.Values{}
	if file != "" {
		if values, err = chartutil.ReadValuesFile("../helm/tokenbroker/" + file); err != nil {
			t.Fatal(err)
		}
	}
	values = chartutil.MergeTables(override, values)
	render, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "tokenbroker", Namespace: "tokenbroker"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Engine{Strict: true}.Render(chart, render)
	if err != nil {
		return nil, err
	}
	var all []object
	for name, text := range files {
		if strings.HasSuffix(name, ".yaml") {
			all = append(all, objects(t, text)...)
		}
	}
	slices.SortFunc(all, func(a, b object) int { return strings.Compare(a.String(), b.String()) })
	return all, nil
}

var separator = regexp.MustCompile(`(?m)^---$`)

// objects returns the objects of a rendered file in the order of their kinds and names.
func objects(t *testing.T, text string) (all []object) {
	t.Helper()
	for _, document := range separator.Split(text, -1) {
		var o object
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if len(o) > 0 {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b object) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// named returns the object of that kind and name; the ConfigMap's name has a hash.
func named(t *testing.T, all []object, kind, name string) object {
	t.Helper()
	for _, o := range all {
		if o.String() == kind+" "+name || kind == "ConfigMap" && o["kind"] == kind {
			return o
		}
	}
	t.Fatalf("no %s %s", kind, name)
	return nil
}
