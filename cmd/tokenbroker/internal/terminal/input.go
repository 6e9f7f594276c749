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

// ReadPassword reads a password, which is one line of at most [MaxLine] bytes. It refuses a terminal, which
// would show the password.
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

// ReadLine reads to the end of the first line, or to the end of r. It returns when ctx ends, also while r blocks.
func ReadLine(ctx context.Context, r io.Reader) (string, error) {
	text, err := readText(ctx, r)
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), err
}

// readText reads to the end of the first line, or to the end of r, and also returns what arrived together
// with that line: it does not wait for more. If ctx ends first, its goroutine stays in the read, which
// nothing can interrupt: the process is about to end.
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

// Confirm prints a question on stderr and reads the answer from stdin, which must be a terminal:
// otherwise the error asks for --yes. It returns nil only if the answer is yes.
func Confirm(ctx context.Context, stdin io.Reader, stderr io.Writer, question string) error {
	if !IsTerminal(stdin) {
		return fmt.Errorf("%w: this cannot be undone, and there is no terminal to ask on: confirm with --yes", ErrUsage)
	}
	_, _ = fmt.Fprintf(stderr, "%s [y/N] ", question)
	line, err := ReadLine(ctx, stdin)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// IsTerminal reports whether a stream is a terminal: a character device other than the null device.
func IsTerminal(stream any) bool {
	f, ok := stream.(interface{ Stat() (fs.FileInfo, error) })
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
