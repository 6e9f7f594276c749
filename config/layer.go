package config

import (
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"

	"tokenbroker/internal/private"
	"tokenbroker/internal/setting"
)

// separator joins paths inside koanf: no key and no entry's name holds it.
const separator = "\x1f"

// layer is what one of defaults, file, environment and flags says.
type layer struct {
	values  map[string]any    // by path, joined by separator
	sources map[string]string // by dotted key
	ids     map[string][]string
	inline  []string // dotted keys of secrets that the layer holds itself
}

func newLayer() *layer {
	return &layer{values: map[string]any{}, sources: map[string]string{}, ids: map[string][]string{}}
}

// reader gathers the layers' problems and warnings.
type reader struct{ problems, warnings Problems }

func (r *reader) report(at path, source, message, hint string) {
	r.problems = append(r.problems, Problem{Key: at.String(), Message: message, Hint: hint, Source: source})
}

// put sets a value of the right type; a secret in either of its forms, once.
func (r *reader) put(l *layer, at path, n *node, value any, source string) {
	if n.kind == secret {
		content := value.(string)
		var err error
		if last := at[len(at)-1]; last != n.name {
			file := content
			var mode fs.FileMode
			if content, mode, err = private.ReadSecret(file); err != nil {
				r.report(at, source, err.Error(), "")
			} else if message, hint := openSecret(file, mode); message != "" {
				r.warnings = append(r.warnings, Problem{Key: at.String(), Message: message, Hint: hint, Source: source})
			}
			at = at[:len(at)-1].with(n.name)
		} else if content, err = private.SecretLine(content); err != nil {
			hint := ""
			if value == "" {
				hint = "leave it out, or give the secret"
			}
			r.report(at, source, err.Error(), hint)
		} else {
			l.inline = append(l.inline, at.String())
		}
		if other, twice := l.sources[at.String()]; twice {
			r.report(at, source, "is given twice: as it is and as "+n.name+fileSuffix, "keep one; the other one is "+other)
			return
		}
		value = content
	}
	l.values[strings.Join(at, separator)] = value
	l.sources[at.String()] = source
}

// maxFile bounds a file that is not a secret, in bytes.
const maxFile = 1 << 20

// putText sets the value that a variable, a flag or a default writes as text.
func (r *reader) putText(l *layer, at path, n *node, raw, source string) {
	switch n.kind {
	case text, secret:
		r.put(l, at, n, raw, source)
	case flag:
		if raw != "true" && raw != "false" {
			r.report(at, source, "want true or false", "")
			return
		}
		r.put(l, at, n, raw == "true", source)
	case number:
		count, err := parseNumber(raw)
		if err != nil {
			r.report(at, source, err.Error(), "")
			return
		}
		r.put(l, at, n, count, source)
	case span:
		if _, err := setting.ParseDuration(raw); err != nil {
			r.report(at, source, err.Error(), "")
			return
		}
		r.put(l, at, n, raw, source)
	case list:
		items := []string{}
		if raw != "" {
			items = strings.Split(raw, ",")
		}
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		if slices.Contains(items, "") {
			r.report(at, source, "has an empty item", "separate the items by one comma each")
			return
		}
		r.put(l, at, n, items, source)
	case group, entries:
	}
}

// parseNumber reads a count: digits, without a sign or a unit.
func parseNumber(raw string) (int, error) {
	count, err := strconv.ParseUint(raw, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number from 0 to %d", raw, math.MaxInt32)
	}
	return int(count), nil
}

// defaults is the first layer.
func (r *reader) defaults() *layer {
	l := newLayer()
	schema.leaves(nil, func(path) []string { return nil }, func(at path, n *node) {
		if n.def != "" {
			r.putText(l, at, n, n.def, SourceDefault)
		}
	})
	return l
}
