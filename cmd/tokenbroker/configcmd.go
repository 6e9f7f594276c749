package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
)

// configCommand makes, checks and shows configurations; none of it needs a server.
func configCommand(stdout, stderr io.Writer) *cobra.Command {
	return group("config", "Write, check and show the configuration of serve", "",
		configInitCommand(stdout, stderr), configCheckCommand(stdout), configPrintCommand(stdout))
}

func configInitCommand(stdout, stderr io.Writer) *cobra.Command {
	var opts config.InitOptions
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented configuration with secrets made for it",
		Long: `Write a commented configuration with secrets made for it to FILE (mode 0600; one that
exists is never overwritten), or to standard output. It runs on this machine as it is; its
comments say what to change for a public URL and a Cognito pool.`,
		Example: "  tokenbroker config init tokenbroker.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%w: unknown argument %q", errUsage, args[1])
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
	cmd.Flags().StringVar(&opts.Listen, "listen", "", "the `ADDRESS` of the public listener (default: 127.0.0.1:8080, as a comment)")
	cmd.Flags().StringVar(&opts.NATSListen, "nats-listen", "", "the `ADDRESS` of the embedded NATS server (default: 127.0.0.1:4222, as a comment)")
	cmd.Flags().StringVar(&opts.AdminListen, "admin-listen", "", "the `ADDRESS` of the operators' listener (default: 127.0.0.1:8081, as a comment)")
	cmd.Flags().StringVar(&opts.DataDir, "data-dir", "", "the `DIR` of store and keys (default: tokenbroker-data in this directory)")
	return cmd
}

// initFile makes the file whole or not at all.
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
		format outputFormat
	)
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Say yes, or list everything that is wrong",
		Long: `Say yes, or list everything that is wrong with a configuration: unknown keys, missing and
contradictory values, files that cannot be read, claims that do not compile or fail for a sample
user. serve refuses to start for the same reasons. Warnings name values that are allowed and
inadvisable; serve logs them and starts. It opens no port and no store.`,
		Example: "  tokenbroker config check --config tokenbroker.yaml",
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, _, err := flags.build(cmd.Context())
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
			if format == outputJSON || answer.OK {
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
		format outputFormat
	)
	cmd := &cobra.Command{
		Use:     "print --config FILE",
		Short:   "Show the effective values and where each came from, secrets masked",
		Example: "  tokenbroker config print --config tokenbroker.yaml",
		Args:    unknownCommand,
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

// socketOf gives the operators' socket of a configuration file. What else is wrong with the
// file does not keep operators from the server that runs.
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
