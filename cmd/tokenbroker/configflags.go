package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/config"
)

// configEnv names the configuration file where --config does not.
const configEnv = "TOKENBROKER_CONFIG"

// configFlags are the flags of every command that reads a configuration.
type configFlags struct {
	file string
	set  []string
	// named are flags of their own for keys that are often given.
	named map[string]*string
	flags *pflag.FlagSet
}

// keyFlags are the configuration keys with a flag of their own.
var keyFlags = map[string]string{
	"listen": "listen", "public-url": "public_url", "data-dir": "data_dir",
	"log-level": "log.level", "log-format": "log.format",
}

func (f *configFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.file, "config", "", "the configuration `FILE` (default: "+configEnv+", else none)")
	flags.StringArrayVar(&f.set, "set", nil, "`KEY=VALUE` for any key, for example --set lifetimes.access_token=2m; may be repeated")
	f.named, f.flags = map[string]*string{}, flags
	for name, key := range keyFlags {
		f.named[name] = flags.String(name, "", "the key "+key)
	}
}

// load reads the configuration.
func (f *configFlags) load() (*config.Loaded, error) {
	given := map[string]string{}
	for name, value := range f.named {
		if f.flags.Changed(name) { // an empty one as well: --public-url "$UNSET" must not fall back
			given[keyFlags[name]] = *value
		}
	}
	for _, assignment := range f.set {
		key, value, ok := strings.Cut(assignment, "=")
		if !ok {
			shown, _, _ := strings.Cut(assignment, ":") // what follows may be a secret
			return nil, fmt.Errorf("%w: --set %q: want KEY=VALUE", errUsage, shown)
		}
		given[key] = value
	}
	return config.Load(config.Options{File: f.name(), Environ: os.Environ(), Flags: given})
}

// errNoConfig is in the error of a configuration that has problems and no file.
var errNoConfig = errors.New("no configuration file was named: give --config FILE or " + configEnv)

// name is the configuration file, or nothing.
func (f *configFlags) name() string { return cmp.Or(f.file, os.Getenv(configEnv)) }

// build reads the configuration and makes what a node is started with; the error names
// everything that is wrong, with the configuration and with what it leads to.
func (f *configFlags) build(ctx context.Context) (*config.Loaded, *setup.Built, error) {
	loaded, err := f.load()
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		if loaded != nil { // what was read holds the claims, too: say all that is wrong at once
			_, more := setup.Claims(ctx, loaded.Config)
			problems = append(problems, more...).Sorted()
		}
		if f.name() == "" {
			return nil, nil, fmt.Errorf("%w; 'tokenbroker config init tokenbroker.yaml' writes one\n%w", errNoConfig, problems)
		}
		return nil, nil, problems
	case err != nil:
		return nil, nil, err
	}
	built, problems := setup.Build(ctx, loaded.Config)
	if len(problems) > 0 {
		return nil, nil, problems
	}
	return loaded, built, nil
}
