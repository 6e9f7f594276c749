package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tokenbroker/internal/setting"
)

// fileReader reads a YAML document by the schema. It reports unknown keys, repeated keys and wrong types
// with their lines, and converts no value from one type to another.
type fileReader struct {
	*reader
	name  string
	layer *layer
}

// file returns the layer of the file. ok is false if nothing of the file could be read.
func (r *reader) file(name string, content []byte) (l *layer, ok bool) {
	fr := &fileReader{reader: r, name: name, layer: newLayer()}
	if bytes.ContainsRune(content, 0) {
		r.report(nil, name, "is not a text file", "write it in UTF-8")
		return nil, false
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc, next yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return fr.layer, true
	}
	if err == nil {
		if nextErr := decoder.Decode(&next); nextErr == nil {
			r.report(nil, fr.at(&next), "has more than one document", "remove the line --- and what follows")
		} else if !errors.Is(nextErr, io.EOF) {
			err = nextErr
		}
	}
	if err != nil {
		message := strings.TrimPrefix(err.Error(), "yaml: ")
		if strings.Contains(message, "unknown anchor") { // it names the anchor, and that may be a secret
			message = "a value begins with *"
		}
		hint := "a value with special characters needs quotes"
		if strings.Contains(message, "found a tab character") || strings.Contains(message, "cannot start any token") {
			hint = "indent by spaces: YAML takes no tabs"
		}
		r.report(nil, name, "is not yaml: "+message, hint)
		return nil, false
	}
	if len(doc.Content) > 0 {
		fr.read(nil, schema, doc.Content[0])
	}
	return fr.layer, true
}

func (r *fileReader) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.name, n.Line) }

func isNull(y *yaml.Node) bool { return y.Kind == yaml.ScalarNode && y.ShortTag() == "!!null" }

// read reads the value of a key. It ignores a key whose value is null.
func (r *fileReader) read(at path, n *node, y *yaml.Node) {
	if y.Kind == yaml.AliasNode {
		r.report(at, r.at(y), "is an alias", "aliases (*name) are not read: write the value")
		return
	}
	if isNull(y) {
		return
	}
	switch n.kind {
	case group, entries:
		if y.Kind != yaml.MappingNode {
			r.report(at, r.at(y), "want keys of its own", "")
			return
		}
		r.mapping(at, n, y)
	case list:
		r.list(at, n, y)
	case text, flag, number, span, secret:
		r.scalar(at, n, y)
	case workloads:
		r.workloads(at, n, y)
	}
}

func (r *fileReader) mapping(at path, n *node, y *yaml.Node) {
	seen := map[string]int{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind != yaml.ScalarNode || isNull(k) || k.Value == "" || strings.Contains(k.Value, separator) {
			r.report(at, r.at(k), "has a key that is not text", "")
			continue
		}
		here := at.with(k.Value)
		if line, twice := seen[k.Value]; twice {
			r.report(here, r.at(k), fmt.Sprintf("is given twice, also in line %d", line), "keep one")
			continue
		}
		seen[k.Value] = k.Line
		if n.kind == entries {
			r.entry(here, at, n, k, v)
			continue
		}
		c := n.child(k.Value)
		if c == nil {
			c = n.secretOf(k.Value)
		}
		if c == nil {
			r.report(here, r.at(k), "is not a key of the configuration", unknownHint(at, k.Value, n.names()))
			continue
		}
		r.read(here, c, v)
	}
}

func (r *fileReader) entry(here, at path, n *node, k, v *yaml.Node) {
	if n.elem.kind != group {
		r.read(here, n.elem, v)
		return
	}
	r.layer.ids[at.String()] = append(r.layer.ids[at.String()], k.Value)
	r.layer.sources[here.String()] = r.at(k)
	before := len(r.layer.values)
	r.read(here, n.elem, v)
	if len(r.layer.values) == before { // the entry's values come from the environment
		r.layer.values[strings.Join(here, separator)] = map[string]any{}
	}
}

// unknownHint suggests a similar key of the same group, or keys of that name in other groups.
func unknownHint(at path, name string, siblings []string) string {
	if best := didYouMean(name, siblings); best != "" {
		return "did you mean " + at.with(best).String() + "?"
	}
	var elsewhere []string
	schema.leaves(nil, func(path) []string { return []string{"<name>"} }, func(p path, n *node) {
		if n.name == name {
			elsewhere = append(elsewhere, p.String())
		}
	})
	if len(elsewhere) > 0 {
		return "did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	slices.Sort(siblings)
	return "the keys here: " + strings.Join(siblings, ", ")
}

func (r *fileReader) list(at path, n *node, y *yaml.Node) {
	if y.Kind != yaml.SequenceNode {
		r.report(at, r.at(y), "want a list", "write [a, b], or one item per line, each after a dash")
		return
	}
	items := []string{}
	for _, item := range y.Content {
		if item.Kind != yaml.ScalarNode || item.ShortTag() != "!!str" {
			r.report(at, r.at(item), "has an item that is not text", "put it in quotes")
			return
		}
		if item.Value == "" {
			r.report(at, r.at(item), "has an empty item", "")
			return
		}
		items = append(items, item.Value)
	}
	r.put(r.layer, at, n, items, r.at(y))
}

// workloads reads a list whose items have the keys of [Workload].
func (r *fileReader) workloads(at path, n *node, y *yaml.Node) {
	if y.Kind != yaml.SequenceNode {
		r.report(at, r.at(y), "want a list", "write one item per line, as - {issuer: https://ci.example.com, subject: job, audience: broker}")
		return
	}
	keys := nodeOf(reflect.ValueOf(Workload{}), "")
	items := []map[string]any{}
	for _, item := range y.Content {
		if item.Kind != yaml.MappingNode {
			r.report(at, r.at(item), "has an item without keys", "write - {issuer: https://ci.example.com, subject: job, audience: broker}")
			return
		}
		read := map[string]any{}
		for i := 0; i+1 < len(item.Content); i += 2 {
			k, v := item.Content[i], item.Content[i+1]
			_, twice := read[k.Value]
			switch {
			case keys.child(k.Value) == nil:
				r.report(at, r.at(k), "has an item with the unknown key "+strconv.Quote(k.Value), "the keys here: "+strings.Join(keys.names(), ", "))
				return
			case twice:
				r.report(at, r.at(k), "has an item with the key "+k.Value+" twice", "keep one")
				return
			case v.Kind != yaml.ScalarNode || v.ShortTag() != "!!str":
				r.report(at, r.at(v), k.Value+" of an item is not text", "put it in quotes")
				return
			}
			read[k.Value] = v.Value
		}
		items = append(items, read)
	}
	r.put(r.layer, at, n, items, r.at(y))
}

func (r *fileReader) scalar(at path, n *node, y *yaml.Node) {
	if y.Kind != yaml.ScalarNode {
		r.report(at, r.at(y), "want a single value", "")
		return
	}
	switch tag := y.ShortTag(); n.kind {
	case text, secret:
		if tag != "!!str" {
			r.report(at, r.at(y), "want text", "put it in quotes")
			return
		}
		r.put(r.layer, at, n, y.Value, r.at(y))
	case flag:
		if tag != "!!bool" {
			r.report(at, r.at(y), "want true or false", "write it without quotes")
			return
		}
		r.put(r.layer, at, n, strings.EqualFold(y.Value, "true"), r.at(y))
	case number:
		count, err := parseNumber(y.Value)
		if err != nil {
			r.report(at, r.at(y), err.Error(), "")
			return
		}
		r.put(r.layer, at, n, count, r.at(y))
	case span:
		if _, err := setting.ParseDuration(y.Value); err != nil {
			r.report(at, r.at(y), err.Error(), "")
			return
		}
		r.put(r.layer, at, n, y.Value, r.at(y))
	case group, entries, list, workloads:
	}
}
