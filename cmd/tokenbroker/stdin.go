package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// confirm asks on a terminal; without one it wants --yes.
func (o *operator) confirm(ctx context.Context, question string) error {
	if !terminal.IsTerminal(o.stdin) {
		return fmt.Errorf("%w: this cannot be undone, and there is no terminal to ask on: say --yes", errUsage)
	}
	_, _ = fmt.Fprintf(o.stderr, "%s [y/N] ", question)
	line, err := terminal.ReadLine(ctx, o.stdin)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// onTerminal reports whether somebody watches stderr.
func (o *operator) onTerminal() bool {
	tty, ok := o.stderr.(io.Reader)
	return ok && terminal.IsTerminal(tty)
}
