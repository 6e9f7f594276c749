package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"tokenbroker/internal/private"
	"tokenbroker/internal/setting"
)

// Options has the sources of a configuration. A value of Flags takes precedence over one of Environ, which
// takes precedence over one of File, which takes precedence over the default.
type Options struct {
	// File is the name of a YAML file. If empty, there is none. Relative names of files in it are
	// relative to the working directory.
	File string
	// Environ has the form of [os.Environ]. Only names with the prefix TOKENBROKER_ are used.
	Environ []string
	// Flags has the text of values by dotted key. The items of lists are separated by commas.
	Flags map[string]string
}

// SourceDefault is the source of values that are not set.
const SourceDefault = "default"

// Loaded is a configuration with the sources of its values.
type Loaded struct {
	Config *Config
	// Warnings are allowed but inadvisable values, in the order of the keys.
	Warnings Problems
	sources  map[string]string
}

// Source returns where the value of a dotted key came from: "default", "tokenbroker.yaml:12",
// "environment TOKENBROKER_LISTEN", "flag --listen".
func (l *Loaded) Source(key string) string {
	if s, found := l.sources[key]; found {
		return s
	}
	return SourceDefault
}

func (l *Loaded) given(key string) bool { return l.Source(key) != SourceDefault }

// Load reads and checks the configuration. Its error is [Problems] with all that is wrong. It also returns
// then what could be read, which may be nil and is only for further checks.
func Load(opts Options) (*Loaded, error) {
	var (
		content string
		mode    fs.FileMode
	)
	if opts.File != "" {
		var err error
		if content, mode, err = private.ReadNamed(opts.File, maxFile); err != nil {
			return nil, Problems{{Message: err.Error(), Hint: "`tokenbroker config init` writes a file to start from", Source: opts.File}}
		}
	}
	return load(opts, []byte(content), mode)
}

// load is Load for a file with that content and mode.
func load(opts Options, content []byte, mode fs.FileMode) (*Loaded, error) {
	r := &reader{}
	defaults := r.defaults()
	file, ok := r.file(opts.File, content)
	if !ok {
		return nil, r.problems
	}
	if opts.File != "" {
		r.fileMode(opts.File, mode, file)
	}
	layers := []*layer{defaults, file, r.environ(opts.Environ, file.ids), r.flags(opts.Flags)}

	loaded := &Loaded{Config: &Config{}, sources: map[string]string{}}
	merged := koanf.New(separator)
	for _, l := range layers {
		if err := merged.Load(confmap.Provider(l.values, separator), nil); err != nil {
			return nil, fmt.Errorf("merging the configuration: %w", err)
		}
		maps.Copy(loaded.sources, l.sources)
	}
	if err := decode(merged, loaded.Config); err != nil {
		return nil, fmt.Errorf("decoding the configuration: %w", err)
	}
	loaded.derive()

	c := &checker{cfg: loaded.Config, loaded: loaded, unread: r.problems}
	c.check()
	loaded.Warnings = append(r.warnings, c.warnings...).Sorted()
	if problems := append(r.problems, c.problems...); len(problems) > 0 {
		return loaded, problems.Sorted()
	}
	return loaded, nil
}

// decode sets cfg. It matches names exactly and converts no types.
func decode(merged *koanf.Koanf, cfg *Config) error {
	return merged.UnmarshalWithConf("", cfg, koanf.UnmarshalConf{Tag: "yaml", DecoderConfig: &mapstructure.DecoderConfig{
		ErrorUnused: true,
		Squash:      true,
		MatchName:   func(key, field string) bool { return key == field },
		DecodeHook: func(from, to reflect.Type, data any) (any, error) {
			raw, isText := data.(string)
			switch {
			case to == reflect.TypeFor[Secret]() && isText:
				return NewSecret(raw), nil
			case to == reflect.TypeFor[Duration]() && isText:
				return setting.ParseDuration(raw)
			case to == reflect.TypeFor[Secret](), to == reflect.TypeFor[Duration]():
				return nil, errors.New("want text, have " + from.String())
			}
			return data, nil
		},
	}})
}

// checker checks the values. Each check is in the file of its subject.
type checker struct {
	cfg      *Config
	loaded   *Loaded
	unread   Problems // of values that could not be read
	problems Problems
	warnings Problems
}

func (c *checker) check() {
	c.listeners()
	c.store()
	c.browser()
	c.tokens()
	c.clients()
	c.oauth()
	c.selfDescribed()
	c.providers()
	c.nats()
	c.admin()
}

// add reports a problem with key, unless the value of key could not be read.
func (c *checker) add(key, message, hint string) {
	spoilt := func(p Problem) bool { return p.Key == key || strings.HasPrefix(p.Key, key+".") }
	if slices.ContainsFunc(c.unread, spoilt) {
		return
	}
	c.problems = append(c.problems, c.problem(key, message, hint))
}

// addAll reports the problems that the package which owns a setting returned.
func (c *checker) addAll(ps Problems) {
	for _, p := range ps {
		c.add(p.Key, p.Message, p.Hint)
	}
}

// warn reports that key has an allowed but inadvisable value.
func (c *checker) warn(key, message, hint string) {
	c.warnings = append(c.warnings, c.problem(key, message, hint))
}

// WithSources sets the sources of problems that were found in the configuration after Load, and returns ps.
func (l *Loaded) WithSources(ps Problems) Problems {
	for i := range ps {
		if l.given(ps[i].Key) {
			ps[i].Source = l.Source(ps[i].Key)
		}
	}
	return ps
}

func (c *checker) problem(key, message, hint string) Problem {
	p := Problem{Key: key, Message: message, Hint: hint}
	if !c.given(key) {
		return p
	}
	p.Source = c.loaded.Source(key)
	if strings.HasPrefix(message, "is not ") {
		switch v := valueAt(c.cfg, strings.Split(key, ".")).(type) { // other types may contain a secret
		case Duration:
			p.Message = v.String() + " " + message
		case int:
			p.Message = strconv.Itoa(v) + " " + message
		}
	}
	return p
}

// given reports whether key was set.
func (c *checker) given(key string) bool { return c.loaded.given(key) }

// oneOf checks that a value is one of those allowed.
func (c *checker) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		hint := ""
		if best := didYouMean(value, allowed); best != "" {
			hint = "did you mean " + best + "?"
		}
		c.add(key, fmt.Sprintf("is %q, want one of %s", value, strings.Join(allowed, ", ")), hint)
	}
}
