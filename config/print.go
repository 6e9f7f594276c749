package config

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// setValue stands for a secret that is set.
const setValue = "(set)"

// value is a line of what Print writes.
type value struct {
	Key    string `json:"key"`
	Value  any    `json:"value"` // text, bool, number, a list of texts; null for what is not set
	Source string `json:"source"`
}

// values are the effective ones in the struct's order, secrets masked.
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
		case []string:
			v.Value = append([]string{}, x...)
		case string:
			if n.name == "secret_hash" && x != "" { // a weak secret could be guessed from it
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

// Print writes the effective values with the source of each, secrets as "(set)": format
// text is one `key: value  # source` a line, json a list of {key, value, source}.
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

// inline writes a value as yaml does, on one line.
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
	case []string:
		items := make([]string, len(x))
		for i, item := range x {
			items[i] = scalar(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return ""
}

// scalar quotes text where yaml would read something else from it.
func scalar(raw string) string {
	plain, err := yaml.Marshal(raw)
	one := strings.TrimSuffix(string(plain), "\n")
	if err != nil || one != raw || strings.HasPrefix(raw, ":") || strings.ContainsAny(raw, "\n,[]{}#") {
		return strconv.Quote(raw)
	}
	return one
}
