package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
)

// waitLimit is the longest --wait that a server takes.
const waitLimit = 10 * time.Second

// waitFlag is the value of --wait; zero is not to wait.
type waitFlag time.Duration

// String, Set and Type make it a flag's value.
func (f *waitFlag) String() string {
	if *f == 0 {
		return ""
	}
	return time.Duration(*f).String()
}

// Set takes a duration above 0 and up to [waitLimit].
func (f *waitFlag) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > waitLimit {
		return errors.New("want a duration above 0 and up to 10s, for example 2s")
	}
	*f = waitFlag(d)
	return nil
}

// Type is what help calls the value.
func (f *waitFlag) Type() string { return "DURATION" }

// addWait gives --wait to a command that ends tokens.
func (o *operator) addWait(cmd *cobra.Command) {
	cmd.Flags().Var(&o.wait, "wait", "wait until the services have applied it, up to so long (10s at most), and say how many have")
}

// printReceipts says what the services answered within --wait; nil: they were not asked.
func (o *operator) printReceipts(w io.Writer, r *broker.ReceiptSummary) {
	switch {
	case r == nil:
	case r.Of == 0:
		_, _ = fmt.Fprintln(w, "no service was heard in the last 3 s: there is nobody to wait for")
	case r.Applied == r.Of:
		_, _ = fmt.Fprintf(w, "applied by %d of %s, slowest %d ms\n", r.Applied, count(r.Of, "service"), r.SlowestMS)
	default:
		names := make([]string, len(r.Laggards))
		for i, name := range r.Laggards {
			names[i] = adminclient.Plain(name)
		}
		if more := r.Of - r.Applied - len(names); more > 0 {
			names = append(names, fmt.Sprintf("and %d more", more))
		}
		_, _ = fmt.Fprintf(w, "applied by %d of %s within %s; not yet: %s\n", r.Applied, count(r.Of, "service"), time.Duration(o.wait), strings.Join(names, ", "))
	}
}
