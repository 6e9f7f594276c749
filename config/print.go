package config

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// setValue is printed in place of a secret that is set.
const setValue = "(set)"

// value is one line that Print writes.
type value struct {
	Key    string `json:"key"`
	Value  any    `json:"value"` // text, bool, number, a list of texts; null for what is not set
	Source string `json:"source"`
}

// values returns the effective values in the order of [Config], with secrets masked.
func (l *Loaded) values() []value {
	var all []value
	schema.leaves(nil, l.Config.ids, func(at path, n *node) {
		v := value{Key: at.String(), Source: l.Source(at.String())}
		switch x := valueAt(l.Config, at).(type) {
		case Secret:
			if x.Set() {
				v.Value = setValue
			}
		case Duration:
			if x != 0 || v.Source != SourceDefault || n.def != "" {
				v.Value = x.String()
			}
		case int:
			if x != 0 || v.Source != SourceDefault {
				v.Value = x
			}
		case *bool:
			if x != nil {
				v.Value = *x
			}
		case *Duration:
			if x != nil {
				v.Value = x.String()
			}
		case []Workload:
			v.Value = append([]Workload{}, x...)
		case []string:
			v.Value = append([]string{}, x...)
		case string:
			if strings.HasSuffix(n.name, "secret_hash") && x != "" { // a weak secret could be guessed from it
				x = setValue
			}
			if x != "" || v.Source != SourceDefault {
				v.Value = x
			}
		default:
			v.Value = x
		}
		all = append(all, v)
	})
	return all
}

// Print writes the effective values with their sources, and "(set)" in place of secrets. Format text has one
// `key: value  # source` per line, format json a list of {key, value, source}.
func (l *Loaded) Print(w io.Writer, format string) error {
	switch format {
	case "text":
		var text strings.Builder
		for _, v := range l.values() {
			text.WriteString(strings.TrimRight(v.Key+": "+inline(v.Value), " ") + "  # " + v.Source + "\n")
		}
		_, err := io.WriteString(w, text.String())
		return err
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(l.values())
	}
	return fmt.Errorf("format %q: want text or json", format)
}

// inline returns a value as YAML on one line.
func inline(v any) string {
	switch x := v.(type) {
	case bool:
		return strconv.FormatBool(x)
	case int:
		return strconv.Itoa(x)
	case string:
		if x == setValue {
			return x
		}
		return scalar(x)
	case []Workload:
		items := make([]string, len(x))
		for i, w := range x {
			items[i] = "{issuer: " + scalar(w.Issuer) + ", subject: " + scalar(w.Subject) + ", audience: " + scalar(w.Audience)
			if w.JWKSURI != "" {
				items[i] += ", jwks_uri: " + scalar(w.JWKSURI)
			}
			items[i] += "}"
		}
		return "[" + strings.Join(items, ", ") + "]"
	case []string:
		items := make([]string, len(x))
		for i, item := range x {
			items[i] = scalar(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return ""
}

// scalar returns text as YAML. It quotes text that YAML would read as something else.
func scalar(raw string) string {
	plain, err := yaml.Marshal(raw)
	one := strings.TrimSuffix(string(plain), "\n")
	if err != nil || one != raw || strings.HasPrefix(raw, ":") || strings.ContainsAny(raw, "\n,[]{}#") {
		return strconv.Quote(raw)
	}
	return one
}
