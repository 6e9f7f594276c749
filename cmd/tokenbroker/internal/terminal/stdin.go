package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"tokenbroker/internal/private"
)

// MaxLine bounds a line of standard input, in bytes.
const MaxLine = 4096

// ReadPassword reads one line. A terminal, which would show it, is refused.
func ReadPassword(ctx context.Context, stdin io.Reader) (string, error) {
	if IsTerminal(stdin) {
		return "", fmt.Errorf("%w: the password is read from standard input, which is a terminal and would show it: pipe it, as in: read -rs P; printf '%%s' \"$P\" | tokenbroker …", ErrUsage)
	}
	text, err := readText(ctx, stdin)
	if err != nil {
		return "", fmt.Errorf("reading the password from standard input: %w", err)
	}
	password, err := private.SecretLine(text)
	if err != nil {
		return "", fmt.Errorf("%w: the password on standard input %w", ErrUsage, err)
	}
	return password, nil
}

// ReadLine reads to the first line end, or the end.
func ReadLine(ctx context.Context, r io.Reader) (string, error) {
	text, err := readText(ctx, r)
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), err
}

// readText reads to the first line end, or the end, and returns what arrived with that line as
// well: it does not wait for more. When ctx ends first, its goroutine is left with the read:
// nothing wakes it, and the process is about to end.
func readText(ctx context.Context, r io.Reader) (string, error) {
	type result struct {
		text string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		in := bufio.NewReader(io.LimitReader(r, MaxLine+1))
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if len(line) > MaxLine {
			err = fmt.Errorf("the line is longer than %d bytes", MaxLine)
		}
		rest, _ := in.Peek(in.Buffered())
		read <- result{line + string(rest), err}
	}()
	select {
	case got := <-read:
		return got.text, got.err
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
