package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
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
		if last := at[len(at)-1]; last != n.name {
			var err error
			file := content
			var mode fs.FileMode
			if content, mode, err = readSecret(file); err != nil {
				r.report(at, source, err.Error(), "")
				content = ""
			} else if message, hint := openSecret(file, mode); message != "" {
				r.warnings = append(r.warnings, Problem{Key: at.String(), Message: message, Hint: hint, Source: source})
			}
			at = at[:len(at)-1].with(n.name)
		} else if content == "" {
			r.report(at, source, "is empty", "leave it out, or give the secret")
		} else {
			l.inline = append(l.inline, at.String())
		}
		if other, twice := l.sources[at.String()]; twice {
			r.report(at, source, "is given twice: as it is and as "+n.name+fileSuffix, "keep one; the other one: "+other)
			return
		}
		value = content
	}
	l.values[strings.Join(at, separator)] = value
	l.sources[at.String()] = source
}

const (
	maxSecretFile = 64 << 10
	maxConfigFile = 1 << 20
)

// readSecret reads a secret's file and cuts one line's end off it.
func readSecret(name string) (string, fs.FileMode, error) {
	content, mode, err := readFile(name, maxSecretFile)
	if err != nil {
		return "", 0, err
	}
	content = strings.TrimSuffix(strings.TrimSuffix(content, "\n"), "\r")
	if content == "" {
		return "", 0, fmt.Errorf("the file %s is empty", name)
	}
	return content, mode, nil
}

// readFile reads a file of at most limit bytes and returns its mode as well.
func readFile(name string, limit int64) (content string, mode fs.FileMode, err error) {
	if name == "" {
		return "", 0, errors.New("the file's name is empty")
	}
	f, err := os.Open(name) // #nosec G304 -- the operator names the file
	if err != nil {
		return "", 0, fmt.Errorf("the file %s cannot be read: %w", name, cause(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", 0, fmt.Errorf("the file %s cannot be read: %w", name, cause(err))
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", 0, fmt.Errorf("the file %s cannot be read: %w", name, cause(err))
	}
	if int64(len(text)) > limit {
		return "", 0, fmt.Errorf("the file %s is larger than %d KiB", name, limit>>10)
	}
	return string(text), info.Mode(), nil
}

// cause is err without the operation and the file's name.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

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
		if _, err := ParseDuration(raw); err != nil {
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
