// Command tokenbroker is an OIDC-style token broker: short-lived access tokens, refresh
// tokens out of reach of scripts, and log-off that takes effect in every service at once.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Exit codes: done, failed, and used wrongly.
const (
	exitOK     = terminal.ExitOK
	exitFailed = terminal.ExitFailed
	exitUsage  = terminal.ExitUsage
)

// errUsage marks an error of how the command was called.
var errUsage = terminal.ErrUsage

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

// run is Main with a standard input: where operators' commands read passwords.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := group("tokenbroker", "A token broker: sign in, refresh, log off everywhere at once", "",
		serveCommand(stderr), devCommand(stdout, stderr), idpCommand(stdout), configCommand(stdout, stderr), benchCommand())
	terminal.Root(root, args, stdout, stderr)
	root.AddCommand(operatorCommands(stdin, stdout, stderr)...)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		return report(stderr, cmd, err)
	}
	return exitOK
}

// unknownCommand refuses words that are not a command, or that a command does not take.
func unknownCommand(cmd *cobra.Command, args []string) error {
	return terminal.UnknownCommand(cmd, args)
}
