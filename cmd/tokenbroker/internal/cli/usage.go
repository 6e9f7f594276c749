package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes: done, failed, and used wrongly.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// ErrUsage marks an error of how the command was called.
var ErrUsage = errors.New("usage")

// Root prepares the first command of a program, whose errors [Report] prints.
func Root(cmd *cobra.Command, args []string, stdout, stderr io.Writer) {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", ErrUsage, err) })
}

// UnknownCommand refuses words that are not a command, or that a command does not take.
func UnknownCommand(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: unknown command or argument %q", ErrUsage, args[0])
	}
	return nil
}

// Group returns a command that only holds others.
func Group(use, short, long string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

// Fault is what --output json prints of an error, on stderr.
type Fault struct {
	Error  string `json:"error"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Describe returns the fault that err is: "usage" for [ErrUsage], else "failed".
func Describe(err error) Fault {
	if errors.Is(err, ErrUsage) {
		text := strings.TrimPrefix(err.Error(), ErrUsage.Error()+": ")
		return Fault{Error: text, Code: "usage", Detail: text}
	}
	return Fault{Error: err.Error(), Code: "failed", Detail: err.Error()}
}

// Report prints err, which is fault to the user, as cmd's --output wants it, and returns the exit code.
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
	program := cmd.Root().Name()
	_, _ = fmt.Fprintf(stderr, "%s: %s\n", program, fault.Error)
	if code == ExitUsage {
		_, _ = fmt.Fprintf(stderr, "Run '%s --help' for the commands and flags.\n", program)
	}
	return code
}
