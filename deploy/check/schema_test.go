package check

import (
	"encoding/json"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	strict "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// scheme has the types of the objects.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

// decode returns the object as the type of its API, and an error for a field that the type does not have, or has twice.
func decode(o object) (runtime.Object, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	decoded, _, err := strict.NewSerializerWithOptions(strict.DefaultMetaFactory, scheme, scheme, strict.SerializerOptions{Strict: true}).Decode(raw, nil, nil)
	return decoded, err
}

// required returns an error if the object lacks a field that the OpenAPI schema of Kubernetes requires, or has a value of
// another type. Newer fields, which the schema does not have, are for decode to check.
func required(o object) error {
	version, err := schema.ParseGroupVersion(fmt.Sprint(o["apiVersion"]))
	if err != nil {
		return err
	}
	meta := yaml.TypeMeta{APIVersion: version.String(), Kind: fmt.Sprint(o["kind"])}
	rs := openapi.SchemaForResourceType(meta)
	if rs == nil {
		return fmt.Errorf("no schema of %v", meta)
	}
	return matches(rs, map[string]any(o), o.String())
}

func matches(rs *openapi.ResourceSchema, value any, path string) error {
	s := rs.Schema
	switch value := value.(type) {
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := value[name]; !ok {
				return fmt.Errorf("%s: %s is missing", path, name)
			}
		}
		for name, member := range value {
			if field := rs.Field(name); field != nil {
				if err := matches(field, member, path+"."+name); err != nil {
					return err
				}
			}
		}
	case []any:
		if len(s.Type) > 0 && !s.Type.Contains("array") {
			return fmt.Errorf("%s: is a list, the schema has %v", path, s.Type)
		}
		for i, element := range value {
			if elements := rs.Elements(); elements != nil {
				if err := matches(elements, element, fmt.Sprintf("%s[%d]", path, i)); err != nil {
					return err
				}
			}
		}
	case string:
		if len(s.Type) > 0 && !s.Type.Contains("string") {
			return fmt.Errorf("%s: is a string, the schema has %v", path, s.Type)
		}
	case bool:
		if len(s.Type) > 0 && !s.Type.Contains("boolean") {
			return fmt.Errorf("%s: is a boolean, the schema has %v", path, s.Type)
		}
	}
	return nil
}

func TestObjectsMatchTheirSchemas(t *testing.T) {
	converter := applyconfigurations.NewTypeConverter(scheme)
	for _, v := range variants {
		t.Run(v.overlay, func(t *testing.T) {
			for _, o := range kustomized(t, v.overlay) {
				decoded, err := decode(o)
				if err != nil {
					t.Errorf("%s: %v", o, err)
					continue
				}
				if err := required(o); err != nil {
					t.Error(err)
				}
				// The schema of server-side apply also knows the keys of lists, such as names of ports.
				if _, err := converter.ObjectToTyped(decoded); err != nil {
					t.Errorf("%s: %v", o, err)
				}
			}
		})
	}
}

// The checks of TestObjectsMatchTheirSchemas fail for mistakes.
func TestSchemasRefuseMistakes(t *testing.T) {
	converter := applyconfigurations.NewTypeConverter(scheme)
	container := func(o object) map[string]any {
		return o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
	}
	for name, mistake := range map[string]func(object){
		"an unknown field":    func(o object) { container(o)["readOnlyRootFilesystem"] = true },
		"a wrong type":        func(o object) { container(o)["args"] = "serve" },
		"a name that repeats": func(o object) { c := container(o); c["env"] = append(c["env"].([]any), c["env"].([]any)[0]) },
		"a missing selector":  func(o object) { delete(o["spec"].(map[string]any), "selector") },
		"a missing name":      func(o object) { delete(container(o), "name") },
	} {
		o := named(t, kustomized(t, "single"), "StatefulSet", "tokenbroker")
		mistake(o)
		decoded, err := decode(o)
		if err == nil {
			err = required(o)
		}
		if err == nil {
			_, err = converter.ObjectToTyped(decoded)
		}
		if err == nil {
			t.Errorf("%s is not an error", name)
		}
	}
}
