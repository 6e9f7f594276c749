package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// options are the streams of the program and the flags that operators' commands share.
type options struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	server         adminclient.Options
	format         terminal.Format
	wait           waitFlag
}

// serverHelp ends the Long of every command that asks a server.
const serverHelp = `

The server is the one that --admin, --data-dir or --config names, else TOKENBROKER_ADMIN,
TOKENBROKER_CONFIG or TOKENBROKER_DATA_DIR, else a running dev of the same user.`

// flags adds the flags that find the server, and --output, to cmd and its subcommands.
func (o *options) flags(cmd *cobra.Command) *cobra.Command {
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.server.DataDir, "data-dir", "", "the server's data directory: ask over the socket in it")
	flags.StringVar(&o.server.Admin, "admin", "", "the server's admin address: unix:///path, http://127.0.0.1:8081 or https://host")
	flags.StringVar(&o.server.TokenFile, "admin-token-file", "", "the file with the bearer token for http and https (default: TOKENBROKER_ADMIN_TOKEN, or the file TOKENBROKER_ADMIN_TOKEN_FILE)")
	flags.StringVar(&o.server.CAFile, "admin-ca", "", "the PEM `FILE` of the authorities that an https server's certificate is checked by (default: TOKENBROKER_ADMIN_CA, or the system's)")
	o.server.SocketOf = socketOf
	flags.StringVar(&o.server.ConfigFile, "config", "", "the server's configuration file: ask over the socket that it names")
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

// ask calls f with a client of the server.
func (o *options) ask(ctx context.Context, f func(context.Context, *adminclient.Client) error) error {
	client, err := adminclient.Locate(o.server)
	if err != nil {
		return err
	}
	defer client.Close()
	return f(ctx, client.Waiting(time.Duration(o.wait)))
}

// emit prints v as JSON, or what text writes, as --output says.
func (o *options) emit(v any, text func(w io.Writer)) error {
	return terminal.Emit(o.stdout, o.format, v, text)
}

// emitRevoked prints the result of a revocation; did names what was done.
func (o *options) emitRevoked(done operator.Revoked, did string) error {
	return o.emit(done, func(w io.Writer) { printer.Revoked(w, done, did, time.Duration(o.wait)) })
}

// confirm asks before what cannot be undone, unless yes, the value of --yes.
func (o *options) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	return terminal.Confirm(ctx, o.stdin, o.stderr, question)
}

func noteFlag(cmd *cobra.Command, note *string) {
	cmd.Flags().StringVar(note, "note", "", "your words for the audit log")
}

// collect reads pages until it has limit items, or all of them if limit is 0. next is where a further
// page would begin, or "".
func collect[T any](limit int, page func(after string, limit int) ([]T, string, error)) (items []T, next string, err error) {
	const pageSize = 1000
	if limit < 0 {
		return nil, "", fmt.Errorf("%w: --limit %d: want a number from 0 (all)", terminal.ErrUsage, limit)
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

// noteIncomplete reports on stderr that --limit cut a list, next being where it would go on, and how many
// damaged records were left out. JSON output has both.
func (o *options) noteIncomplete(next string, unreadable int) {
	if o.format != terminal.Text {
		return
	}
	if next != "" {
		_, _ = fmt.Fprintln(o.stderr, "There are more: raise --limit, or leave it out to see all.")
	}
	if unreadable > 0 {
		_, _ = fmt.Fprintf(o.stderr, "Left out: %d damaged, which the server cannot read; its log names them.\n", unreadable)
	}
}

// maxWait is the longest --wait that a server accepts.
const maxWait = 10 * time.Second

// waitFlag is the value of --wait; zero means not to wait.
type waitFlag time.Duration

// addWait adds --wait to a command that revokes tokens.
func (o *options) addWait(cmd *cobra.Command) {
	cmd.Flags().Var(&o.wait, "wait", "wait until the services have applied it, up to so long (10s at most), and say how many have")
}

// String implements [pflag.Value].
func (f *waitFlag) String() string {
	if *f == 0 {
		return ""
	}
	return time.Duration(*f).String()
}

// Set implements [pflag.Value]: it accepts a duration above 0 and up to [maxWait].
func (f *waitFlag) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > maxWait {
		return errors.New("want a duration above 0 and up to 10s, for example 2s")
	}
	*f = waitFlag(d)
	return nil
}

// Type implements [pflag.Value]: it is the name of the value in the help.
func (f *waitFlag) Type() string { return "DURATION" }
