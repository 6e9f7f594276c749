// Command tokenbroker is an OIDC-style token broker: short-lived access tokens, refresh
// tokens out of reach of scripts, and log-off that takes effect in every service at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/buildinfo"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// exitUncertain is the exit code of a broker that does not know the outcome of a commit. The others are
// those of package terminal.
const exitUncertain = 70

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Main runs the command line and returns the exit code. When ctx ends, a running server
// drains and Main returns. It sets the process's umask to 077: what the program writes (the
// store, backups, configurations) holds secrets, and no file is made readable to other users.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	syscall.Umask(0o077)
	return run(ctx, args, os.Stdin, stdout, stderr)
}

// run is Main with a standard input, from which operators' commands read passwords.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := &options{stdin: stdin, stdout: stdout, stderr: stderr}
	root := terminal.Group("tokenbroker", "A token broker: sign in, refresh, log off everywhere at once", "",
		serveCommand(stderr), devCommand(stdin, stdout, stderr), idpCommand(stdout), configCommand(stdout, stderr), benchCommand())
	root.AddCommand(operatorCommands(o)...)
	terminal.Root(root, args, stdout, stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		return report(stderr, cmd, err)
	}
	return terminal.ExitOK
}

// operatorCommands are the commands that ask a running server, those for a stopped one, and version.
func operatorCommands(o *options) []*cobra.Command {
	return []*cobra.Command{
		usersCommand(o), clientsCommand(o), sessionsCommand(o), revokeCommand(o), revocationsCommand(o), tokenCommand(o), watchCommand(o), keysCommand(o),
		statusCommand(o), doctorCommand(o), healthcheckCommand(o), backupCommand(o), restoreCommand(o), floorCommand(o), migrateCommand(o), storeCommand(o), versionCommand(o),
	}
}

// report prints err in the format of cmd's --output and returns the exit code. A refusal of the server has
// the server's code.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	if errors.Is(err, adminclient.ErrOptions) {
		err = fmt.Errorf("%w: %w", terminal.ErrUsage, err)
	}
	fault := terminal.Describe(err)
	var problem *adminclient.Problem
	switch {
	case errors.Is(err, terminal.ErrUsage):
	case errors.As(err, &problem):
		fault.Detail = problem.Detail
		if problem.Code != "" {
			fault.Code = string(problem.Code)
		}
	case errors.Is(err, adminclient.ErrNoServer):
		fault.Code = "no_server"
	}
	return terminal.Report(stderr, cmd, err, fault)
}

func versionCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Long:    "Print the version of this binary, the revision it was built from and the Go version. No server is asked.",
		Example: "  tokenbroker version --output json",
		Args:    terminal.UnknownCommand,
		RunE: func(*cobra.Command, []string) error {
			info := buildinfo.Read()
			return o.emit(info, func(w io.Writer) { _, _ = fmt.Fprintln(w, info) })
		},
	}
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

// version returns the version of this binary in one line.
func version() string { return buildinfo.Read().String() }

// errBenchMoved is the answer to `tokenbroker bench`, which was a command of this binary.
var errBenchMoved = errors.New("bench is a binary of its own: run tokenbroker-bench with the same arguments, or in the source tree: go run ./cmd/tokenbroker-bench")

// benchCommand refuses all arguments. The benches are not in this binary because they draw: that takes 73
// packages that each build of tokenbroker would compile.
func benchCommand() *cobra.Command {
	return &cobra.Command{
		Use: "bench", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error { return errBenchMoved },
	}
}
