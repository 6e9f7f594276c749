package restore

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Question returns the question that an operator must confirm before the restore.
func (p *Plan) Question() string {
	taken := time.Unix(p.Header.TakenAt, 0)
	what := "into the empty " + p.cfg.DataDir
	if p.Replaces {
		what = "in the place of what is in " + p.cfg.DataDir
	}
	kind := "backup"
	if !p.Authenticated() {
		kind = "unauthenticated backup, whose passwords and roles may be anybody's,"
	}
	return fmt.Sprintf("Put the %s of %s (%s ago; %s) %s? Everybody will have to sign in again.",
		kind, terminal.Stamp(taken), time.Since(taken).Round(time.Second), terminal.Count(p.Counts.Users, "user"), what)
}

// WriteText prints the result of a restore.
func (r Result) WriteText(w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	say("restored the backup of %s: %s, %s, %s, %s, %s in all",
		terminal.Stamp(r.TakenAt), terminal.Count(r.Users, "user"), terminal.Count(r.Identities, "account"), terminal.Count(r.Clients, "client"), terminal.Count(r.Sessions, "session"), terminal.Count(r.Records, "record"))
	say("everybody signs in again: no session and no token from before is good (epoch %d)", r.Epoch)
	say("the store is another one for the services: %s, the backup's was %s", terminal.Cell(r.Store), terminal.Cell(r.BackupStore))
	for _, k := range r.Keys {
		say("new key: %s", k)
	}
	say("dead permanently: %s: %s", terminal.Count(len(r.Compromised), "key"), terminal.Cells(r.Compromised))
	if len(r.Disabled) > 0 {
		say("disabled since the backup, and still: %s: %s", terminal.Count(len(r.Disabled), "user"), terminal.Cells(r.Disabled))
	}
	if r.Kept != "" {
		say("the replaced store is kept in %s: remove it when you no longer need it", r.Kept)
	}
	for _, text := range r.Warnings {
		say("WARNING: %s", terminal.Plain(text))
	}
	say("%s", strings.TrimSpace(`passwords, roles and users are those of the backup: what was changed or removed since has to be repeated; see the audit log
start the server now`))
}

// Question returns the question that an operator must confirm before the floor is raised.
func (r *Raise) Question() string {
	lost := "Nothing of it is lost."
	if len(r.Lost) > 0 {
		lost = "Lost: " + strings.Join(r.Lost, "; ") + "."
	}
	return fmt.Sprintf("%s can be read in %s, among them %s, %s and %s. %s\n"+
		"Sign everybody out, and start again with these records?",
		terminal.Count(r.Counts.Records, "record"), r.plan.cfg.DataDir, terminal.Count(r.Counts.Users, "user"), terminal.Count(r.Counts.Clients, "client"), terminal.Count(r.Counts.Sessions, "session"), terminal.Plain(lost))
}

// WriteText prints the result of a floor raise.
func (r Raised) WriteText(w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	say("Kept %s: %s, %s, %s, %s.", terminal.Count(r.Records, "record"), terminal.Count(r.Users, "user"), terminal.Count(r.Identities, "account"), terminal.Count(r.Clients, "client"), terminal.Count(r.Sessions, "session"))
	say("Everybody signs in again: no session and no token from before is good (epoch %d).", r.Epoch)
	say("Services see another store: %s.", terminal.Cell(r.Store))
	for _, k := range r.Keys {
		say("New key: %s", k)
	}
	if len(r.Compromised) > 0 {
		say("Dead permanently: %s: %s", terminal.Count(len(r.Compromised), "key"), terminal.Cells(r.Compromised))
	}
	if len(r.Lost) == 0 {
		say("Nothing is lost: every record of the last commit could be read.")
	}
	for _, text := range r.Lost {
		say("LOST: %s", terminal.Plain(text))
	}
	if len(r.Lost) > 0 {
		say("Users, roles, passwords and clients may be older than the damage, or missing: the audit log has what was changed last.")
	}
	say("The old store is kept in %s: remove it when you no longer need it.", r.Kept)
	say("Start the server now.")
}
