package printer

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
	"tokenbroker/validator"
)

// RevocationCheck prints whether something is revoked, and the events that revoke it.
func RevocationCheck(w io.Writer, check operator.RevocationCheck) {
	verdict := "not revoked"
	if check.Revoked {
		verdict = "revoked"
	}
	of := terminal.Cell(check.Value)
	if check.Kind == "token" {
		of = "the token " + of
	} else if check.Kind == string(revocation.KindAll) {
		of = "all tokens"
	}
	_, _ = fmt.Fprintf(w, "%s: %s\n", verdict, of)
	if s := check.Session; s != nil {
		_, _ = fmt.Fprintf(w, "session %s of user %s and client %s: %s\n", terminal.Cell(s.SID), terminal.Cell(s.UID), terminal.Cell(s.ClientID), terminal.Cell(s.State))
	}
	if len(check.Events) == 0 {
		return
	}
	rows := make([][]string, len(check.Events))
	for i, e := range check.Events {
		batch := "-"
		if e.Origin != "" {
			batch = terminal.Cell(e.Origin) + "." + strconv.FormatUint(e.Seq, 10)
		}
		rows[i] = append(eventCells(e.Event), revokedBy(e), batch)
	}
	terminal.Table(w, eventHeader+"|BY|BATCH", rows)
	_, _ = fmt.Fprintln(w, auditHint)
}

// auditHint names where to find details that the server does not return.
const auditHint = "The operator's note and the request are in the server's audit log: search it for the value."

// revokedBy returns the name of the operator who revoked the value, or the party that the reason implies.
func revokedBy(e revocation.Recorded) string {
	if e.By != "" {
		return terminal.Cell(e.By)
	}
	switch e.Reason {
	case revocation.ReasonLogoff, revocation.ReasonAllOthers:
		return "the user"
	case revocation.ReasonBackchannel, revocation.ReasonUpstream:
		return "the provider"
	case revocation.ReasonReuse, revocation.ReasonRollback:
		return "the broker"
	}
	return "-"
}

const eventHeader = "KIND|VALUE|REASON|SINCE|UNTIL|EPOCHS BELOW"

func eventCells(e revocation.Event) []string {
	until, epoch, since := "permanent", "-", "-"
	if e.ExpiresAt > 0 {
		until = terminal.Stamp(time.Unix(e.ExpiresAt, 0))
	}
	if e.At > 0 {
		since = terminal.Stamp(time.Unix(e.At, 0))
	}
	if e.Epoch > 0 {
		epoch = strconv.FormatInt(e.Epoch, 10)
	}
	return []string{terminal.Cell(string(e.Kind)), terminal.Cell(e.Value), terminal.Cell(string(e.Reason)), since, until, epoch}
}

// Revocations prints a table of live revocations.
func Revocations(w io.Writer, events []revocation.Event) {
	if len(events) == 0 {
		_, _ = fmt.Fprintln(w, "nothing is revoked")
		return
	}
	rows := make([][]string, len(events))
	for i, e := range events {
		rows[i] = eventCells(e)
	}
	terminal.Table(w, eventHeader, rows)
}

// Revoked prints the result of a revocation with --wait wait; did names what was done.
func Revoked(w io.Writer, done operator.Revoked, did string, wait time.Duration) {
	switch {
	case !done.Changed:
		_, _ = fmt.Fprintf(w, "No change: this was done before (%s).\n", did)
	case done.Broadcast:
		_, _ = fmt.Fprintf(w, "%s: recorded, and broadcast to the services\n", did)
	default:
		_, _ = fmt.Fprintf(w, "%s: recorded; the broadcast to services is pending\n", did)
	}
	Receipts(w, done.ReceiptSummary, wait)
}

// Receipts prints how many services have applied a revocation within wait. If r is nil, the server was not
// asked to wait, and Receipts prints nothing.
func Receipts(w io.Writer, r *broker.ReceiptSummary, wait time.Duration) {
	switch {
	case r == nil:
	case r.Of == 0:
		_, _ = fmt.Fprintln(w, "no service was heard in the last 3 s: there is no service to wait for")
	case r.Applied == r.Of:
		_, _ = fmt.Fprintf(w, "applied by %d of %s, slowest %d ms\n", r.Applied, terminal.Count(r.Of, "service"), r.SlowestMS)
	default:
		names := make([]string, len(r.Laggards))
		for i, name := range r.Laggards {
			names[i] = terminal.Plain(name)
		}
		if more := r.Of - r.Applied - len(names); more > 0 {
			names = append(names, fmt.Sprintf("and %d more", more))
		}
		_, _ = fmt.Fprintf(w, "applied by %d of %s within %s; not yet: %s\n", r.Applied, terminal.Count(r.Of, "service"), wait, strings.Join(names, ", "))
	}
}

// Explanation prints a token that was decoded, and the verdict of each rule.
func Explanation(w io.Writer, x *validator.Explanation) {
	_, _ = fmt.Fprintln(w, "Decoded; do not trust it unless every check below is ok:")
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
