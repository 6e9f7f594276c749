package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// outputFormat is the value of --output.
type outputFormat = terminal.Format

const (
	outputText = terminal.Text
	outputJSON = terminal.JSON
)

// table prints rows under a header, columns aligned. Cells must be plain.
func table(w io.Writer, header string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if header != "" {
		_, _ = fmt.Fprintln(tw, strings.ReplaceAll(header, "|", "\t"))
	}
	for _, row := range rows {
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush() // into memory
}

// cell is text from the server for a table.
func cell(text string) string {
	if text == "" {
		return "-"
	}
	return adminclient.Plain(text)
}

// count is a number with its noun, whose plural ends in s.
func count[N int | int64 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// cells joins several.
func cells(texts []string) string {
	plain := make([]string, len(texts))
	for i, t := range texts {
		plain[i] = adminclient.Plain(t)
	}
	if len(plain) == 0 {
		return "-"
	}
	return strings.Join(plain, ",")
}

// stamp is a time in RFC 3339, UTC, or "-" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// report prints err as cmd's --output wants it and returns the exit code.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	if errors.Is(err, adminclient.ErrOptions) {
		err = fmt.Errorf("%w: %w", errUsage, err)
	}
	fault := terminal.Describe(err)
	var problem *adminclient.Problem
	switch {
	case errors.Is(err, errUsage):
	case errors.As(err, &problem):
		fault.Detail = problem.Detail
		if problem.Code != "" {
			fault.Code = string(problem.Code)
		}
	case errors.Is(err, adminclient.ErrNoServer):
		fault.Code = "no_server"
	}
	return terminal.Report(stderr, cmd, err, fault)
}
