package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
)

// configCommand writes, checks and prints configurations. Its subcommands need no server.
func configCommand(stdout, stderr io.Writer) *cobra.Command {
	return terminal.Group("config", "Write, check and show the configuration of serve", "",
		configInitCommand(stdout, stderr), configCheckCommand(stdout), configPrintCommand(stdout))
}

func configInitCommand(stdout, stderr io.Writer) *cobra.Command {
	var opts config.InitOptions
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented configuration with secrets made for it",
		Long: `Write a commented configuration with secrets made for it to FILE (mode 0600; one that
exists is never overwritten), or to standard output. It runs on this machine as it is; its
comments name what to change for a public URL and a Cognito pool.`,
		Example: "  tokenbroker config init tokenbroker.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%w: unknown argument %q", terminal.ErrUsage, args[1])
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return config.Init(stdout, opts)
			}
			if err := initFile(args[0], opts); err != nil {
				return err
			}
			_, err := fmt.Fprintf(stderr, "Wrote %s. Check it with 'tokenbroker config check --config %s', run it with 'tokenbroker serve --config %s'.\n", args[0], args[0], args[0])
			return err
		},
	}
	cmd.Flags().StringVar(&opts.PublicURL, "public-url", "", "the broker's `URL` as browsers and services reach it")
	cmd.Flags().StringVar(&opts.Listen, "listen", "", "the `ADDRESS` of the public listener (default: "+config.DefaultListen+", as a comment)")
	cmd.Flags().StringVar(&opts.NATSListen, "nats-listen", "", "the `ADDRESS` of the embedded NATS server (default: "+config.DefaultNATSListen+", as a comment)")
	cmd.Flags().StringVar(&opts.AdminListen, "admin-listen", "", "the `ADDRESS` of the operators' listener (default: "+config.DefaultAdminListen+", as a comment)")
	cmd.Flags().StringVar(&opts.DataDir, "data-dir", "", "the `DIR` of store and keys (default: tokenbroker-data in this directory)")
	return cmd
}

// initFile writes the whole file, or none.
func initFile(name string, opts config.InitOptions) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names it
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and is not overwritten: name another file, or remove it", name)
	}
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	err = config.Init(f, opts)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing the configuration: %w", err), os.Remove(name))
	}
	return nil
}

func configCheckCommand(stdout io.Writer) *cobra.Command {
	var (
		flags  configFlags
		format terminal.Format
	)
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Check a configuration and list everything that is wrong",
		Long: `Report that a configuration is good, or list everything that is wrong with it: unknown keys, missing and
contradictory values, files that cannot be read, claims that do not compile or fail for a sample
user. serve refuses to start for the same reasons. Warnings name values that are allowed and
inadvisable; serve logs them and starts. It opens no port and no store.`,
		Example: "  tokenbroker config check --config tokenbroker.yaml",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, _, err := flags.check(cmd.Context())
			var problems config.Problems
			if err != nil && !errors.As(err, &problems) {
				return err
			}
			if problems == nil {
				problems = config.Problems{}
			}
			warnings := config.Problems{}
			if loaded != nil {
				warnings = append(warnings, loaded.Warnings...)
			}
			answer := struct {
				OK       bool            `json:"ok"`
				Problems config.Problems `json:"problems"`
				Warnings config.Problems `json:"warnings"`
			}{len(problems) == 0, problems, warnings}
			if format == terminal.JSON || answer.OK {
				text := func(w io.Writer) {
					for _, warning := range warnings {
						_, _ = fmt.Fprintln(w, "Warning: "+warning.String())
					}
					_, _ = fmt.Fprintln(w, "The configuration is good.")
				}
				if err := terminal.Emit(stdout, format, answer, text); err != nil {
					return err
				}
			}
			if !answer.OK {
				return err
			}
			return nil
		},
	}
	flags.register(cmd.Flags())
	terminal.OutputFlag(cmd, &format)
	return cmd
}

func configPrintCommand(stdout io.Writer) *cobra.Command {
	var (
		flags  configFlags
		format terminal.Format
	)
	cmd := &cobra.Command{
		Use:     "print --config FILE",
		Short:   "Show the effective values and where each came from, secrets masked",
		Example: "  tokenbroker config print --config tokenbroker.yaml",
		Args:    terminal.UnknownCommand,
		RunE: func(*cobra.Command, []string) error {
			loaded, err := flags.load()
			if err != nil {
				return err
			}
			return loaded.Print(stdout, string(format))
		},
	}
	flags.register(cmd.Flags())
	terminal.OutputFlag(cmd, &format)
	return cmd
}

// socketOf returns the operators' socket of a configuration file. Other errors in the file do not keep
// operators from a running server.
func socketOf(file string) (string, error) {
	loaded, err := (&configFlags{file: file}).load()
	if loaded == nil || loaded.Config.Admin.Socket == "" && loaded.Config.DataDir == "" {
		return "", err
	}
	if loaded.Config.Admin.Socket != "" {
		return loaded.Config.Admin.Socket, nil
	}
	return adminsocket.Path(loaded.Config.DataDir), nil
}

// configEnv is the environment variable for the configuration file. --config overrides it.
const configEnv = "TOKENBROKER_CONFIG"

// configFlags are the flags of every command that reads a configuration.
type configFlags struct {
	file string
	set  []string
	// named are the values of keyFlags.
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
		if f.flags.Changed(name) { // also to an empty value: --public-url "$UNSET" must not use the default
			given[keyFlags[name]] = *value
		}
	}
	for _, assignment := range f.set {
		key, value, ok := strings.Cut(assignment, "=")
		if !ok {
			shown, _, _ := strings.Cut(assignment, ":") // what follows may be a secret
			return nil, fmt.Errorf("%w: --set %q: want KEY=VALUE", terminal.ErrUsage, shown)
		}
		given[key] = value
	}
	return config.Load(config.Options{File: f.name(), Environ: os.Environ(), Flags: given})
}

// errNoConfig is wrapped by the error of a configuration with problems and without a file.
var errNoConfig = errors.New("no configuration file was named: set --config FILE or " + configEnv)

// name returns the configuration file, or "".
func (f *configFlags) name() string { return cmp.Or(f.file, os.Getenv(configEnv)) }

// build reads the configuration and makes what a node is started with. The error lists everything that is
// wrong with the configuration and with what it names, such as files.
func (f *configFlags) build(ctx context.Context) (*config.Loaded, *setup.Built, error) {
	loaded, err := f.load()
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		if loaded != nil { // the claims were read: report their problems as well
			_, more := setup.Claims(ctx, loaded.Config)
			problems = append(problems, loaded.WithSources(more)...).Sorted()
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
		return nil, nil, loaded.WithSources(problems)
	}
	return loaded, built, nil
}

// check makes what serve is started with, and looks at the directories that serve makes first.
func (f *configFlags) check(ctx context.Context) (*config.Loaded, *setup.Built, error) {
	loaded, built, err := f.build(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := loaded.WithSources(setup.CheckDirectories(loaded.Config)).Err(); err != nil {
		return nil, nil, err
	}
	return loaded, built, nil
}
