package terminal

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Plain returns text unchanged if all of it is printable, otherwise quoted as by %q, so that it cannot
// control a terminal.
func Plain(text string) string {
	for _, r := range text {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(text)
		}
	}
	return text
}

// Table prints rows in aligned columns below a header, whose columns are separated by "|". If the header
// is empty, none is printed. Cells must be plain: see [Cell].
func Table(w io.Writer, header string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if header != "" {
		_, _ = fmt.Fprintln(tw, strings.ReplaceAll(header, "|", "\t"))
	}
	for _, row := range rows {
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush() // into memory
}

// Cell returns text for one cell of a [Table]: [Plain], or "-" if it is empty.
func Cell[S ~string](text S) string {
	if text == "" {
		return "-"
	}
	return Plain(string(text))
}

// Cells returns several texts for one cell of a [Table], separated by commas, or "-" if there are none.
func Cells(texts []string) string {
	if len(texts) == 0 {
		return "-"
	}
	plain := make([]string, len(texts))
	for i, t := range texts {
		plain[i] = Plain(t)
	}
	return strings.Join(plain, ",")
}

// Stamp returns t in RFC 3339 and UTC, or "-" if it is zero.
func Stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// Count returns n with its noun, whose plural ends in s.
func Count[N int | int64 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
