package migrate

import (
	"fmt"
	"io"
	"strings"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Question returns the question to ask the operator before the migration, and "" if nothing remains to be done.
func (p *Plan) Question() string {
	from, to := p.cfg.From.Where, p.cfg.To.Where
	var how string
	switch p.state {
	case done:
		return ""
	case marked:
		return fmt.Sprintf("An earlier migration has copied all records from %s to %s and did not finish. Finish it? Brokers then start only with %s.", from, to, to)
	case fresh:
		how = ", which is empty"
	case interrupted:
		how = ", and delete what an interrupted migration has left there"
	case returning:
		how = ", from where they were moved before, and delete the old records there"
	}
	silent := ""
	if len(p.silent) > 0 {
		silent = " These brokers did not end their runs: " + strings.Join(p.silent, ", ") + ". The command waits for up to 30 s to be certain that they do not run."
	}
	return fmt.Sprintf("Move the %s in %s, among them %s and %s, to %s%s?%s Brokers then start only with %s.",
		terminal.Count(p.Records, "record"), from, terminal.Count(p.Users, "user"), terminal.Count(p.Sessions, "session"), to, how, silent, to)
}

// WriteText prints the result of a migration.
func (r Result) WriteText(w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	from, to := terminal.Plain(r.From), terminal.Plain(r.To)
	if r.Earlier {
		say("The records of %s are in %s: an earlier migration had copied them.", from, to)
	} else {
		say("Moved %s, %s and %s from %s to %s in %.1f s.", terminal.Count(r.Records, "record"), terminal.Count(r.Users, "user"), terminal.Count(r.Sessions, "session"), from, to, r.Seconds)
		say("Both stores were compared: %s, digest %.16s.", terminal.Count(r.Written, "record"), r.Digest)
	}
	say("The store id is still %s. Sessions, tokens, keys and revocations are as before.", terminal.Cell(r.Store))
	say("Brokers no longer start with %s. Its records remain there: remove them when you no longer need them.", from)
	say("Start the brokers with the new configuration now.")
}
