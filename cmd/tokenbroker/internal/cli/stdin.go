package cli

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

// MaxLine bounds a line of standard input, in bytes.
const MaxLine = 4096

// ReadPassword reads one line. A terminal, which would show it, is refused.
func ReadPassword(ctx context.Context, stdin io.Reader) (string, error) {
	if IsTerminal(stdin) {
		return "", fmt.Errorf("%w: the password is read from standard input, which is a terminal and would show it: pipe it, as in: read -rs P; printf '%%s' \"$P\" | tokenbroker …", ErrUsage)
	}
	line, err := ReadLine(ctx, stdin)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the password from standard input: %w", err)
	case line == "":
		return "", fmt.Errorf("%w: the password on standard input is empty", ErrUsage)
	}
	return line, nil
}

// ReadLine reads to the first line end, or the end. When ctx ends first, its goroutine is
// left with the read: nothing wakes it, and the process is about to end.
func ReadLine(ctx context.Context, r io.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(r, MaxLine+1)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if len(line) > MaxLine {
			err = fmt.Errorf("the line is longer than %d bytes", MaxLine)
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

// IsTerminal reports whether r is one: a character device other than the null device.
func IsTerminal(r io.Reader) bool {
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
