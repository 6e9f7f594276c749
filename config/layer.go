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

// separator joins the parts of a path in koanf. No key and no name of an entry contains it.
const separator = "\x1f"

// layer has the values of one of defaults, file, environment and flags.
type layer struct {
	values  map[string]any    // by path, joined by separator
	sources map[string]string // by dotted key
	ids     map[string][]string
	inline  []string // dotted keys of the secrets whose text is in the layer
}

func newLayer() *layer {
	return &layer{values: map[string]any{}, sources: map[string]string{}, ids: map[string][]string{}}
}

// reader collects the problems and warnings of the layers.
type reader struct{ problems, warnings Problems }

func (r *reader) report(at path, source, message, hint string) {
	r.problems = append(r.problems, Problem{Key: at.String(), Message: message, Hint: hint, Source: source})
}

// put sets a value, which has the type of its key. It accepts one of the two forms of a secret.
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
				hint = "leave it out, or set it to the secret"
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

// maxFile is the most bytes that a file may have, other than that of a secret.
const maxFile = 1 << 20

// putText sets a value that is text: that of a variable, a flag or a default.
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
	case workloads:
		r.report(at, source, "is a list of groups", "only the file can have it")
	case group, entries:
	}
}

// parseNumber reads a count, which has only digits.
func parseNumber(raw string) (int, error) {
	count, err := strconv.ParseUint(raw, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number from 0 to %d", raw, math.MaxInt32)
	}
	return int(count), nil
}

// defaults returns the layer of the defaults.
func (r *reader) defaults() *layer {
	l := newLayer()
	schema.leaves(nil, func(path) []string { return nil }, func(at path, n *node) {
		if n.def != "" {
			r.putText(l, at, n, n.def, SourceDefault)
		}
	})
	return l
}
