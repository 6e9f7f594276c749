package restore

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Question returns the question to ask the operator before the restore.
func (p *Plan) Question() string {
	taken := time.Unix(p.Header.TakenAt, 0)
	what := "into " + p.cfg.DataDir + ", which has no store yet"
	switch {
	case p.interrupted:
		what = "into " + p.cfg.Where + ", and delete what an interrupted restore has left there"
	case p.cfg.Engine != nil:
		what = "into " + p.cfg.Where + ", which is empty"
	case p.Replaces:
		what = "and replace the store in " + p.cfg.DataDir
	}
	kind := "backup"
	if !p.Authenticated() {
		kind = "unauthenticated backup (its passwords and roles may be forged)"
	}
	return fmt.Sprintf("Restore the %s of %s (%s ago; %s) %s? All users will have to sign in again.",
		kind, terminal.Stamp(taken), time.Since(taken).Round(time.Second), terminal.Count(p.Counts.Users, "user"), what)
}

// WriteText prints the result of a restore.
func (r Result) WriteText(w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	say("Restored the backup of %s: %s, %s, %s, %s, %s in total.",
		terminal.Stamp(r.TakenAt), terminal.Count(r.Users, "user"), terminal.Count(r.Identities, "account"), terminal.Count(r.Clients, "client"), terminal.Count(r.Sessions, "session"), terminal.Count(r.Records, "record"))
	say("All users must sign in again: every earlier session and token is refused (epoch %d).", r.Epoch)
	say("The new store id is %s; the id of the backup was %s.", terminal.Cell(r.Store), terminal.Cell(r.BackupStore))
	for _, k := range r.Keys {
		say("New key: %s", k)
	}
	say("Refused permanently: %s: %s", terminal.Count(len(r.Compromised), "key"), terminal.Cells(r.Compromised))
	if len(r.Disabled) > 0 {
		say("Disabled since the backup and still disabled: %s: %s", terminal.Count(len(r.Disabled), "user"), terminal.Cells(r.Disabled))
	}
	if r.Kept != "" {
		say("The replaced store is kept in %s: remove it when you no longer need it.", r.Kept)
	}
	for _, text := range r.Warnings {
		say("WARNING: %s", terminal.Plain(text))
	}
	say("Passwords, roles and users are those of the backup: repeat the changes and removals that were made since; the audit log lists them.")
	say("Start the server now.")
}

// Question returns the question to ask the operator before the floor is raised.
func (r *Raise) Question() string {
	where, lost := r.plan.cfg.DataDir, "No record is lost."
	if r.plan.cfg.Engine != nil {
		where, lost = r.plan.cfg.Where, "What was written after this state of the cluster is lost."
	}
	if len(r.Lost) > 0 {
		lost = "Lost: " + strings.Join(r.Lost, "; ") + "."
	}
	if len(r.live) > 0 {
		lost += " These brokers did not end their runs: " + strings.Join(r.live, ", ") + ". The command waits for up to 30 s to be certain that they do not run."
	}
	return fmt.Sprintf("%s can be read in %s, among them %s, %s and %s. %s\n"+
		"Sign all users out and make a new store of these records?",
		terminal.Count(r.Counts.Records, "record"), where, terminal.Count(r.Counts.Users, "user"), terminal.Count(r.Counts.Clients, "client"), terminal.Count(r.Counts.Sessions, "session"), terminal.Plain(lost))
}

// WriteText prints the result of a floor raise.
func (r Raised) WriteText(w io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	say("Kept %s: %s, %s, %s, %s.", terminal.Count(r.Records, "record"), terminal.Count(r.Users, "user"), terminal.Count(r.Identities, "account"), terminal.Count(r.Clients, "client"), terminal.Count(r.Sessions, "session"))
	say("All users must sign in again: every earlier session and token is refused (epoch %d).", r.Epoch)
	say("The new store id is %s.", terminal.Cell(r.Store))
	for _, k := range r.Keys {
		say("New key: %s", k)
	}
	if len(r.Compromised) > 0 {
		say("Refused permanently: %s: %s", terminal.Count(len(r.Compromised), "key"), terminal.Cells(r.Compromised))
	}
	if len(r.Lost) == 0 && r.Kept != "" {
		say("No record is lost: every record of the last commit could be read.")
	}
	for _, text := range r.Lost {
		say("LOST: %s", terminal.Plain(text))
	}
	if len(r.Lost) > 0 || r.Kept == "" {
		say("Users, roles, passwords and clients may be out of date or missing: the audit log lists the last changes.")
	}
	if r.Kept == "" {
		say("Start the brokers now.")
		return
	}
	say("The old store is kept in %s: remove it when you no longer need it.", r.Kept)
	say("Start the server now.")
}
