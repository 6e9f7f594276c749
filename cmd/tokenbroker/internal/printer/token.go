package printer

import (
	"fmt"
	"io"
	"strings"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/validator"
)

// Explanation prints a token that was decoded, and the verdict of each rule.
func Explanation(w io.Writer, x *validator.Explanation) {
	_, _ = fmt.Fprintln(w, "Decoded, not to be trusted unless all is ok below:")
	for _, part := range []struct {
		name string
		json []byte
	}{{"header", x.Header}, {"claims", x.Claims}} {
		_, _ = fmt.Fprintf(w, "  %s  %s\n", part.name, terminal.Cell(string(part.json)))
	}
	_, _ = fmt.Fprintln(w)
	rows := make([][]string, len(x.Checks))
	for i, c := range x.Checks {
		rows[i] = []string{strings.ReplaceAll(string(c.Verdict), "_", " "), c.Rule, terminal.Cell(c.Detail)}
	}
	terminal.Table(w, "VERDICT|RULE|DETAIL", rows)
}
