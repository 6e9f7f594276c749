package bulkrevoke

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

// Bounds of a file of revocations.
const (
	maxLines        = 10_000_000
	maxListedFaults = 100
)

// kinds are the kinds of values that a file may hold, in the order in which they are sent.
var kinds = []revocation.Kind{revocation.KindJTI, revocation.KindSID, revocation.KindSub}

// List holds the values of a file by kind, without repetitions.
type List map[revocation.Kind][]string

// Size returns the number of values.
func (l List) Size() (n int) {
	for _, values := range l {
		n += len(values)
	}
	return n
}

// ReadList reads a whole file, or stdin if file is "-". If kind is not "", each line is a value of that kind;
// otherwise each line is a kind and a value. The error lists all bad lines. If ctx ends first, a goroutine
// stays blocked in the read, because a read of standard input cannot be interrupted: the process is about to end.
func ReadList(ctx context.Context, file string, stdin io.Reader, kind revocation.Kind) (List, error) {
	if kind != "" && !validKind(kind) {
		return nil, fmt.Errorf("%w: --kind %s: want jti, sid or sub", terminal.ErrUsage, terminal.Plain(string(kind)))
	}
	in := stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the operator names it
		if err != nil {
			return nil, fmt.Errorf("%w: --file: %w", terminal.ErrUsage, err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	if in == nil {
		in = strings.NewReader("")
	}
	type result struct {
		list List
		err  error
	}
	read := make(chan result, 1)
	go func() {
		list, err := parse(in, kind)
		read <- result{list, err}
	}()
	select {
	case got := <-read:
		return got.list, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func validKind(kind revocation.Kind) bool { return slices.Contains(kinds, kind) }

// parse reads lines; the error lists all bad ones.
func parse(r io.Reader, kind revocation.Kind) (List, error) {
	type name struct {
		kind  revocation.Kind
		value string
	}
	list, seen := List{}, map[name]bool{}
	var faults []string
	bad := 0
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, terminal.MaxLine)
	number := 0
	for scanner.Scan() {
		if number++; number > maxLines {
			return nil, fmt.Errorf("%w: more than %d lines: split the file", terminal.ErrUsage, maxLines)
		}
		line := strings.TrimSpace(scanner.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		of, value, err := parseLine(line, kind)
		if err != nil {
			if bad++; bad <= maxListedFaults {
				faults = append(faults, fmt.Sprintf("line %d: %v", number, err))
			}
			continue
		}
		if n := (name{of, value}); !seen[n] {
			seen[n] = true
			list[of] = append(list[of], value)
		}
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		if bad++; len(faults) < maxListedFaults {
			faults = append(faults, fmt.Sprintf("line %d: longer than %d bytes; nothing after it was read", number+1, terminal.MaxLine))
		}
	} else if err != nil {
		return nil, fmt.Errorf("reading what to revoke: %w", err)
	}
	switch {
	case bad > len(faults):
		faults = append(faults, fmt.Sprintf("and %d more", bad-len(faults)))
		fallthrough
	case bad > 0:
		return nil, fmt.Errorf("%w: nothing was revoked because %d lines are bad:\n  %s", terminal.ErrUsage, bad, strings.Join(faults, "\n  "))
	case len(list) == 0:
		return nil, fmt.Errorf("%w: the file has no values to revoke", terminal.ErrUsage)
	}
	return list, nil
}

// parseLine splits "kind value"; with a kind the whole line is the value.
func parseLine(line string, kind revocation.Kind) (revocation.Kind, string, error) {
	value := line
	if kind == "" {
		first := line
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			first, value = line[:i], strings.TrimSpace(line[i:])
		}
		kind = revocation.Kind(first)
		if !validKind(kind) || value == line {
			return "", "", errors.New(`want "jti VALUE", "sid VALUE" or "sub VALUE"`)
		}
	}
	if err := operator.ValidateRevocation(kind, value); err != nil {
		var app *broker.Error
		if errors.As(err, &app) {
			return "", "", errors.New(app.Message)
		}
		return "", "", err
	}
	return kind, value, nil
}
