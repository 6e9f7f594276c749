package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxLine bounds a line of standard input, in bytes.
const maxLine = 4096

// readPassword reads one line. A terminal, which would show it, is refused.
func readPassword(ctx context.Context, stdin io.Reader) (string, error) {
	if isTerminal(stdin) {
		return "", fmt.Errorf("%w: the password is read from standard input, which is a terminal and would show it: pipe it, as in: read -rs P; printf '%%s' \"$P\" | tokenbroker …", errUsage)
	}
	line, err := readLine(ctx, stdin)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the password from standard input: %w", err)
	case line == "":
		return "", fmt.Errorf("%w: the password on standard input is empty", errUsage)
	}
	return line, nil
}

// confirm asks on a terminal; without one it wants --yes.
func (o *operator) confirm(ctx context.Context, question string) error {
	if !isTerminal(o.stdin) {
		return fmt.Errorf("%w: this cannot be undone, and there is no terminal to ask on: say --yes", errUsage)
	}
	_, _ = fmt.Fprintf(o.stderr, "%s [y/N] ", question)
	line, err := readLine(ctx, o.stdin)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// readLine reads to the first line end, or the end. When ctx ends first, its goroutine is
// left with the read: nothing wakes it, and the process is about to end.
func readLine(ctx context.Context, r io.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(r, maxLine+1)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if len(line) > maxLine {
			err = fmt.Errorf("the line is longer than %d bytes", maxLine)
		}
		read <- result{strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), err}
	}()
	select {
	case got := <-read:
		return got.line, got.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// onTerminal reports whether somebody watches stderr.
func (o *operator) onTerminal() bool {
	tty, ok := o.stderr.(io.Reader)
	return ok && isTerminal(tty)
}

// isTerminal reports whether r is one: a character device other than the null device.
func isTerminal(r io.Reader) bool {
	f, ok := r.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
