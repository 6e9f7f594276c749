// Package terminal holds what the command lines of tokenbroker and tokenbroker-bench share: exit codes and
// usage errors, --output text or json, tables, questions, passwords on standard input, and progress.
package terminal

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes: done, failed, and used wrongly.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// ErrUsage is wrapped by errors in the use of a command: its exit code is [ExitUsage].
var ErrUsage = errors.New("usage")

// Root prepares the first command of a program: [Report] prints its errors, and a mistyped word gets a suggestion.
func Root(cmd *cobra.Command, args []string, stdout, stderr io.Writer) {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			return fmt.Errorf("%w: %w%s", ErrUsage, err, didYouMean("--", flagNames(cmd), unknown.GetSpecifiedName()))
		}
		return fmt.Errorf("%w: %w", ErrUsage, err)
	})
}

// UnknownCommand is the Args of a command that takes no arguments: it rejects the first one, with a suggestion.
func UnknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: unknown command or argument %q%s", ErrUsage, args[0], didYouMean("", cmd.Commands(), args[0]))
	}
	return nil
}

// didYouMean returns a suggestion of the commands that resemble a mistyped word, or "".
func didYouMean(prefix string, commands []*cobra.Command, word string) string {
	like := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, c := range commands { // not c itself: it has a parent
		like.AddCommand(&cobra.Command{Use: c.Name(), Hidden: c.Hidden, Run: func(*cobra.Command, []string) {}})
	}
	found := like.SuggestionsFor(word)
	if len(found) == 0 {
		return ""
	}
	return ", did you mean " + prefix + strings.Join(found, " or "+prefix) + "?"
}

// flagNames returns the flags of cmd, as commands for [didYouMean].
func flagNames(cmd *cobra.Command) (names []*cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, &cobra.Command{Use: f.Name, Hidden: f.Hidden}) })
	return names
}

// WantArgs returns the Args of a command that takes exactly the named arguments, none of them empty.
func WantArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return fmt.Errorf("%w: unknown argument %q", ErrUsage, args[len(names)])
		}
		for i, name := range names {
			if i >= len(args) || args[i] == "" {
				return fmt.Errorf("%w: %s: missing %s", ErrUsage, strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), name)
			}
		}
		return nil
	}
}

// Group returns a command that only holds other commands; without arguments it prints its help.
func Group(use, short, long string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

// Fault is the object that --output json prints on stderr for an error.
type Fault struct {
	Error  string `json:"error"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Describe returns err as a [Fault] with the code "usage" for [ErrUsage], otherwise "failed".
func Describe(err error) Fault {
	if errors.Is(err, ErrUsage) {
		text := strings.TrimPrefix(err.Error(), ErrUsage.Error()+": ")
		return Fault{Error: text, Code: "usage", Detail: text}
	}
	return Fault{Error: err.Error(), Code: "failed", Detail: err.Error()}
}

// Report prints fault, which describes err, in the format of cmd's --output, and returns the exit code.
func Report(stderr io.Writer, cmd *cobra.Command, err error, fault Fault) int {
	code := ExitFailed
	if errors.Is(err, ErrUsage) {
		code = ExitUsage
	}
	if flag := cmd.Flags().Lookup("output"); flag != nil && flag.Value.String() == string(JSON) {
		if body, jsonErr := Document(fault); jsonErr == nil {
			_, _ = stderr.Write(body)
			return code
		}
	}
	_, _ = fmt.Fprintf(stderr, "%s: %s\n", cmd.Root().Name(), fault.Error)
	if code == ExitUsage {
		_, _ = fmt.Fprintf(stderr, "Run '%s --help' for the commands and flags.\n", cmd.CommandPath())
	}
	return code
}
