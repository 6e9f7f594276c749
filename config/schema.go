package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// kind is the kind of value that a key has.
type kind int

const (
	group   kind = iota // a struct: keys of its own
	entries             // a map with names that the user chooses
	text
	flag
	number
	list
	span // a Duration
	secret
	workloads // a list of [Workload], only in the file
)

// node is a key of the configuration. The tree of keys follows from [Config].
type node struct {
	name     string
	kind     kind
	children []*node // of a group, in the struct's order
	elem     *node   // of entries
	def, doc string
}

var schema = nodeOf(reflect.ValueOf(defaults()), "")

// nodeOf returns the key with the name and the default v.
func nodeOf(v reflect.Value, name string) *node {
	t := v.Type()
	n := &node{name: name, def: defaultText(v.Interface())}
	switch {
	case t == reflect.TypeFor[Secret]():
		n.kind = secret
	case t == reflect.TypeFor[Duration]():
		n.kind = span
	case t.Kind() == reflect.Pointer:
		return nodeOf(reflect.Zero(t.Elem()), name)
	case t.Kind() == reflect.String:
		n.kind = text
	case t.Kind() == reflect.Bool:
		n.kind = flag
	case t.Kind() == reflect.Int:
		n.kind = number
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		n.kind = list
	case t == reflect.TypeFor[[]Workload]():
		n.kind = workloads
	case t.Kind() == reflect.Map:
		n.kind, n.elem = entries, nodeOf(reflect.Zero(t.Elem()), "")
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			if field.Anonymous { // its keys are those of the struct
				n.children = append(n.children, nodeOf(v.Field(i), "").children...)
				continue
			}
			child := nodeOf(v.Field(i), field.Tag.Get("yaml"))
			child.doc = field.Tag.Get("doc")
			n.children = append(n.children, child)
		}
	default:
		panic(fmt.Sprintf("config: no kind for the type %v of %q", t, name))
	}
	return n
}

// defaultText returns a default as the environment would write it, or "" where there is none.
func defaultText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case Duration:
		if v != 0 {
			return v.String()
		}
	case int:
		if v != 0 {
			return strconv.Itoa(v)
		}
	case bool:
		if v {
			return "true"
		}
	case []string:
		return strings.Join(v, ",")
	}
	return ""
}

// child returns the key of that name in a group, or nil.
func (n *node) child(name string) *node {
	i := slices.IndexFunc(n.children, func(c *node) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return n.children[i]
}

// names returns the names of a group's keys, with x_file for each secret x.
func (n *node) names() []string {
	var names []string
	for _, c := range n.children {
		names = append(names, c.name)
		if c.kind == secret {
			names = append(names, c.name+fileSuffix)
		}
	}
	return names
}

// fileSuffix is the suffix of the key that names the file of a secret.
const fileSuffix = "_file"

// secretOf returns the secret x of a group for the name x_file, or nil.
func (n *node) secretOf(name string) *node {
	base, found := strings.CutSuffix(name, fileSuffix)
	if c := n.child(base); found && c != nil && c.kind == secret && n.child(name) == nil {
		return c
	}
	return nil
}

// path is the path of a value. The names of map entries may contain dots.
type path []string

func (p path) String() string { return strings.Join(p, ".") }

func (p path) with(name string) path { return append(slices.Clip(p), name) }

// envPrefix is the prefix of the configuration's environment variables.
const envPrefix = "TOKENBROKER_"

var envReplacer = strings.NewReplacer("-", "_", ".", "_")

// env returns the name of p's environment variable.
func (p path) env() string {
	return envPrefix + strings.ToUpper(envReplacer.Replace(strings.Join(p, "_")))
}

// flag returns p as a flag.
func (p path) flag() string {
	return "--" + strings.NewReplacer("_", "-", ".", "-").Replace(p.String())
}

// leaves calls visit for each value below n in the order of the struct. ids returns the names of the entries
// of a map.
func (n *node) leaves(at path, ids func(path) []string, visit func(path, *node)) {
	switch n.kind {
	case group:
		for _, c := range n.children {
			c.leaves(at.with(c.name), ids, visit)
		}
	case entries:
		for _, id := range ids(at) {
			elem := *n.elem
			if elem.doc == "" {
				elem.doc = n.doc
			}
			elem.leaves(at.with(id), ids, visit)
		}
	case text, flag, number, list, span, secret, workloads:
		visit(at, n)
	}
}

// find returns the path of a dotted key. No key of a struct has a dot, so the name of an entry is the text
// between its map and the last dot.
func (n *node) find(key string) (path, *node) {
	switch n.kind {
	case group:
		name, rest, more := strings.Cut(key, ".")
		c := n.child(name)
		if c == nil {
			c = n.secretOf(name)
		}
		switch {
		case c == nil:
			return nil, nil
		case !more && c.kind != group && c.kind != entries:
			return path{name}, c
		case !more:
			return nil, nil
		}
		p, leaf := c.find(rest)
		if leaf == nil {
			return nil, nil
		}
		return append(path{name}, p...), leaf
	case entries:
		if n.elem.kind != group {
			return path{key}, n.elem
		}
		dot := strings.LastIndexByte(key, '.')
		if dot <= 0 {
			return nil, nil
		}
		p, leaf := n.elem.find(key[dot+1:])
		if leaf == nil {
			return nil, nil
		}
		return append(path{key[:dot]}, p...), leaf
	case text, flag, number, list, span, secret, workloads:
	}
	return nil, nil
}

// valueAt returns the value of cfg at p, or nil if there is none.
func valueAt(cfg *Config, p path) any {
	v := reflect.ValueOf(cfg).Elem()
	for _, name := range p {
		switch v.Kind() {
		case reflect.Struct:
			fields := reflect.VisibleFields(v.Type())
			i := slices.IndexFunc(fields, func(f reflect.StructField) bool { return f.Tag.Get("yaml") == name })
			if i < 0 {
				return nil
			}
			v = v.FieldByIndex(fields[i].Index)
		case reflect.Map:
			v = v.MapIndex(reflect.ValueOf(name))
		default:
			return nil
		}
		if !v.IsValid() {
			return nil
		}
	}
	return v.Interface()
}

// ids returns the sorted names of the entries of the map at a path.
func (c *Config) ids(at path) []string {
	v := reflect.ValueOf(valueAt(c, at))
	if v.Kind() != reflect.Map {
		return nil
	}
	var names []string
	for _, k := range v.MapKeys() {
		names = append(names, k.String())
	}
	slices.Sort(names)
	return names
}
