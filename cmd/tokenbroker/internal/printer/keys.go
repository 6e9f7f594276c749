package printer

import (
	"fmt"
	"io"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/keyring/lifecycle"
)

// Keys prints a table of keys, and when they are rotated.
func Keys(w io.Writer, list admin.KeyList) {
	rows := make([][]string, len(list.Keys))
	for i, k := range list.Keys {
		rows[i] = []string{terminal.Cell(k.KID), terminal.Cell(k.Purpose), terminal.Cell(k.Algorithm), terminal.Cell(k.State), ageOf(k.Created, list.Now), nextStep(k, list.Now)}
	}
	terminal.Table(w, "KID|PURPOSE|ALGORITHM|STATE|AGE|NEXT STEP", rows)
	if every, err := time.ParseDuration(list.RotateEvery); err == nil {
		_, _ = fmt.Fprintf(w, "\nRotated every %s.\n", roughly(every))
	} else {
		_, _ = fmt.Fprintln(w, "\nAutomatic rotation is off.")
	}
	if over := list.Overdue; over != nil {
		_, _ = fmt.Fprintf(w, "OVERDUE since %s: the rotation of %s fails; see the server's log for the reason. The old key still signs, and is valid until %s.\n",
			terminal.Stamp(over.Since), terminal.Cells(over.Purposes), terminal.Stamp(over.OldKeyUntil))
	}
}

// nextStep returns the next automatic change of the key and its time.
func nextStep(k lifecycle.KeyInfo, now time.Time) string {
	switch {
	case k.NextStep == "":
		return "-"
	case k.NextStepAt.IsZero():
		return terminal.Cell(k.NextStep)
	case !k.NextStepAt.After(now):
		return terminal.Cell(k.NextStep) + " now"
	}
	return fmt.Sprintf("%s in %s (%s)", terminal.Cell(k.NextStep), roughly(k.NextStepAt.Sub(now)), terminal.Stamp(k.NextStepAt))
}

func ageOf(created, now time.Time) string {
	if created.IsZero() {
		return "-"
	}
	return roughly(now.Sub(created))
}

// roughly returns d in at most two units.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(d, 0); {
	case d >= 10*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// KeyRotated prints the result of a rotation.
func KeyRotated(w io.Writer, done lifecycle.Rotation) {
	what := "the " + terminal.Cell(done.Purpose) + " key " + terminal.Cell(done.Active.KID)
	switch {
	case done.Purpose == "master" && done.Scheduled:
		_, _ = fmt.Fprintf(w, "scheduled: the master secret %s is in use from %s on\n", terminal.Cell(done.Next.KID), terminal.Stamp(done.Signs))
	case done.Purpose == "master":
		_, _ = fmt.Fprintf(w, "rotated the master secret: %s is in use; the old one is accepted until the last session made with it ends\n", terminal.Cell(done.Active.KID))
	case done.Scheduled && !done.Changed:
		_, _ = fmt.Fprintf(w, "No change: %s (%s) signs from %s on\n", terminal.Cell(done.Next.KID), terminal.Cell(done.Next.Algorithm), terminal.Stamp(done.Signs))
	case done.Scheduled:
		_, _ = fmt.Fprintf(w, "scheduled: %s (%s) signs from %s on, when every service knows it; until then %s does\n",
			terminal.Cell(done.Next.KID), terminal.Cell(done.Next.Algorithm), terminal.Stamp(done.Signs), what)
	case !done.Changed:
		_, _ = fmt.Fprintf(w, "No change: %s (%s) signs since %s\n", what, terminal.Cell(done.Active.Algorithm), terminal.Stamp(done.Signs))
	default:
		_, _ = fmt.Fprintf(w, "rotated: %s (%s) signs\n", what, terminal.Cell(done.Active.Algorithm))
	}
}
