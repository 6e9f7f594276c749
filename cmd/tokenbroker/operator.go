package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// operator is what the commands share that ask a running server.
type operator struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	server         adminclient.Options
	format         outputFormat
	wait           waitFlag
}

// operatorCommands are those that ask a running server, those for a stopped one, and version.
func operatorCommands(stdin io.Reader, stdout, stderr io.Writer) []*cobra.Command {
	o := &operator{stdin: stdin, stdout: stdout, stderr: stderr}
	return []*cobra.Command{
		usersCommand(o), sessionsCommand(o), revokeCommand(o), revocationsCommand(o), tokenCommand(o), watchCommand(o), keysCommand(o),
		statusCommand(o), doctorCommand(o), healthcheckCommand(o), backupCommand(o), restoreCommand(o), floorCommand(o), versionCommand(o),
	}
}

// serverHelp ends the Long of every command that asks a server.
const serverHelp = `

The server is the one that --admin, --data-dir or --config names, else TOKENBROKER_ADMIN,
TOKENBROKER_CONFIG or TOKENBROKER_DATA_DIR, else a running dev of the same user.`

// flags adds the flags that find the server, and --output, to cmd and those below it.
func (o *operator) flags(cmd *cobra.Command) *cobra.Command {
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.server.DataDir, "data-dir", "", "the server's data directory: ask over the socket in it")
	flags.StringVar(&o.server.Admin, "admin", "", "the server's admin address: unix:///path, http://127.0.0.1:8081 or https://host")
	flags.StringVar(&o.server.TokenFile, "admin-token-file", "", "the file with the bearer token that http and https want (default: TOKENBROKER_ADMIN_TOKEN, or the file TOKENBROKER_ADMIN_TOKEN_FILE)")
	flags.StringVar(&o.server.CAFile, "admin-ca", "", "the PEM `FILE` of the authorities that an https server's certificate is checked by (default: TOKENBROKER_ADMIN_CA, or the system's)")
	o.server.SocketOf = socketOf
	flags.StringVar(&o.server.ConfigFile, "config", "", "the server's configuration file: ask over the socket that it names")
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

// ask calls f with a client of the server.
func (o *operator) ask(ctx context.Context, f func(context.Context, *adminclient.Client) error) error {
	client, err := adminclient.Locate(o.server)
	if err != nil {
		return err
	}
	defer client.Close()
	return f(ctx, client.Waiting(time.Duration(o.wait)))
}

// emit prints v, or what text makes of it.
func (o *operator) emit(v any, text func(w io.Writer)) error {
	return terminal.Emit(o.stdout, o.format, v, text)
}

// emitRevoked prints what became of the tokens; did says what was done.
func (o *operator) emitRevoked(done broker.Revoked, did string) error {
	return o.emit(done, func(w io.Writer) {
		if !done.Changed {
			_, _ = fmt.Fprintf(w, "No change: this was done before (%s).\n", did)
			o.printReceipts(w, done.ReceiptSummary)
			return
		}
		state := "recorded, and broadcast to the services"
		if !done.Broadcast {
			state = "recorded; the broadcast to services is pending"
		}
		_, _ = fmt.Fprintf(w, "%s: %s\n", did, state)
		o.printReceipts(w, done.ReceiptSummary)
	})
}

// group is a command that only holds others.
func group(use, short, long string, children ...*cobra.Command) *cobra.Command {
	return terminal.Group(use, short, long, children...)
}

// wantArgs takes exactly the named arguments, none of them empty.
func wantArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return fmt.Errorf("%w: unknown argument %q", errUsage, args[len(names)])
		}
		for i, name := range names {
			if i >= len(args) || args[i] == "" {
				return fmt.Errorf("%w: %s: missing %s", errUsage, strings.TrimPrefix(cmd.CommandPath(), "tokenbroker "), name)
			}
		}
		return nil
	}
}

// collect reads pages until there are limit items, or all for 0. next is where it would go on.
func collect[T any](limit int, page func(after string, limit int) ([]T, string, error)) (items []T, next string, err error) {
	const pageSize = 1000
	if limit < 0 {
		return nil, "", fmt.Errorf("%w: --limit %d: want a number from 0 (all)", errUsage, limit)
	}
	items = []T{}
	for {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-len(items))
		}
		got, after, err := page(next, size)
		if err != nil {
			return nil, "", err
		}
		items = append(items, got...)
		if after == "" || limit > 0 && len(items) >= limit {
			return items, after, nil
		}
		if after == next {
			return nil, "", fmt.Errorf("the server's pages go round in circles at %q", after)
		}
		next = after
	}
}

// unreadableNote says that damaged records were passed over. JSON has their number.
func (o *operator) unreadableNote(n int) {
	if n > 0 && o.format == outputText {
		_, _ = fmt.Fprintf(o.stderr, "Left out: %d damaged, which the server cannot read; its log names them.\n", n)
	}
}

// moreNote says that a list was cut by --limit.
func (o *operator) moreNote(next string) {
	if next != "" && o.format == outputText {
		_, _ = fmt.Fprintln(o.stderr, "There are more: raise --limit, or leave it out to see all.")
	}
}
