package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

// Bounds of a file of revocations.
const (
	maxBulkLines    = 10_000_000
	maxListedFaults = 100
)

// bulkKinds are those that a file may hold, in the order in which they are sent.
var bulkKinds = []revocation.Kind{revocation.KindJTI, revocation.KindSID, revocation.KindSub}

// revokeFileFlags makes cmd revoke what --file lists.
func revokeFileFlags(o *operator, cmd *cobra.Command) {
	var why reasonFlags
	var file, kind string
	help := cmd.RunE
	cmd.Example = `  tokenbroker revoke --file stolen.txt --kind sid --note "incident 7"`
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			if cmd.Flags().Changed("kind") || cmd.Flags().Changed("file") || why != (reasonFlags{}) || o.wait > 0 {
				return fmt.Errorf("%w: revoke: want --file FILE, or what to revoke: sub, sid, jti, client or all", errUsage)
			}
			return help(cmd, args)
		}
		list, err := o.readBulk(cmd.Context(), file, revocation.Kind(kind))
		if err != nil {
			return err
		}
		return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
			return o.revokeBulk(ctx, client, list, why)
		})
	}
	why.add(o, cmd)
	cmd.Flags().StringVar(&file, "file", "", "revoke what this file lists, one a line (-: standard input)")
	cmd.Flags().StringVar(&kind, "kind", "", "the kind of all lines, which are values alone: jti, sid or sub")
}

// bulkList is what a file names, without repetitions, by kind.
type bulkList map[revocation.Kind][]string

func (l bulkList) size() (n int) {
	for _, values := range l {
		n += len(values)
	}
	return n
}

// readBulk reads the file whole. When ctx ends first, its goroutine is left with the read:
// nothing wakes one of standard input, and the process is about to end.
func (o *operator) readBulk(ctx context.Context, file string, kind revocation.Kind) (bulkList, error) {
	if kind != "" && !bulkKind(kind) {
		return nil, fmt.Errorf("%w: --kind %s: want jti, sid or sub", errUsage, adminclient.Plain(string(kind)))
	}
	in := o.stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the operator names it
		if err != nil {
			return nil, fmt.Errorf("%w: --file: %w", errUsage, err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	if in == nil {
		in = strings.NewReader("")
	}
	type result struct {
		list bulkList
		err  error
	}
	read := make(chan result, 1)
	go func() {
		list, err := parseBulk(in, kind)
		read <- result{list, err}
	}()
	select {
	case got := <-read:
		return got.list, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func bulkKind(kind revocation.Kind) bool {
	return kind == revocation.KindJTI || kind == revocation.KindSID || kind == revocation.KindSub
}

// parseBulk reads lines; the error lists all that are bad.
func parseBulk(r io.Reader, kind revocation.Kind) (bulkList, error) {
	type name struct {
		kind  revocation.Kind
		value string
	}
	list, seen := bulkList{}, map[name]bool{}
	var faults []string
	bad := 0
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, terminal.MaxLine)
	number := 0
	for scanner.Scan() {
		if number++; number > maxBulkLines {
			return nil, fmt.Errorf("%w: more than %d lines: split the file", errUsage, maxBulkLines)
		}
		line := strings.TrimSpace(scanner.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		of, value, err := parseBulkLine(line, kind)
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
		return nil, fmt.Errorf("%w: nothing was revoked, for %d lines are bad:\n  %s", errUsage, bad, strings.Join(faults, "\n  "))
	case len(list) == 0:
		return nil, fmt.Errorf("%w: there is nothing to revoke in the file", errUsage)
	}
	return list, nil
}

// parseBulkLine splits "kind value", or with a kind takes the line as a value.
func parseBulkLine(line string, kind revocation.Kind) (revocation.Kind, string, error) {
	value := line
	if kind == "" {
		first := line
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			first, value = line[:i], strings.TrimSpace(line[i:])
		}
		kind = revocation.Kind(first)
		if !bulkKind(kind) || value == line {
			return "", "", errors.New(`want "jti VALUE", "sid VALUE" or "sub VALUE"`)
		}
	}
	if err := broker.ValidateRevocation(kind, value); err != nil {
		var app *broker.Error
		if errors.As(err, &app) {
			return "", "", errors.New(app.Message)
		}
		return "", "", err
	}
	return kind, value, nil
}
