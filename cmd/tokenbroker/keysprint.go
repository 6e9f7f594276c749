package main

import (
	"fmt"
	"io"
	"time"

	"tokenbroker/api"
	"tokenbroker/broker"
)

func printKeys(w io.Writer, list api.KeyList) {
	rows := make([][]string, len(list.Keys))
	for i, k := range list.Keys {
		rows[i] = []string{cell(k.KID), cell(k.Purpose), cell(k.Algorithm), cell(k.State), ageOf(k.Created, list.Now), nextStep(k, list.Now)}
	}
	table(w, "KID|PURPOSE|ALGORITHM|STATE|AGE|NEXT STEP", rows)
	if every, err := time.ParseDuration(list.RotateEvery); err == nil {
		_, _ = fmt.Fprintf(w, "\nRotated every %s.\n", roughly(every))
	} else {
		_, _ = fmt.Fprintln(w, "\nRotated by hand alone.")
	}
	if over := list.Overdue; over != nil {
		_, _ = fmt.Fprintf(w, "OVERDUE since %s: the rotation of %s fails, the server's log says why. The old key signs on, and is good until %s.\n",
			stamp(over.Since), cells(over.Purposes), stamp(over.OldKeyUntil))
	}
}

// nextStep says what happens to the key by itself, and when.
func nextStep(k api.Key, now time.Time) string {
	switch {
	case k.NextStep == "":
		return "-"
	case k.NextStepAt.IsZero():
		return cell(k.NextStep)
	case !k.NextStepAt.After(now):
		return cell(k.NextStep) + " now"
	}
	return fmt.Sprintf("%s in %s (%s)", cell(k.NextStep), roughly(k.NextStepAt.Sub(now)), stamp(k.NextStepAt))
}

func ageOf(created, now time.Time) string {
	if created.IsZero() {
		return "-"
	}
	return roughly(now.Sub(created))
}

// roughly is a duration for people: two units at most.
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

func printRotated(w io.Writer, done api.KeyRotated) {
	what := "the " + cell(done.Purpose) + " key " + cell(done.Active.KID)
	switch {
	case done.Purpose == "master" && done.Scheduled:
		_, _ = fmt.Fprintf(w, "scheduled: the master secret %s is in force from %s on\n", cell(done.Next.KID), stamp(done.Signs))
	case done.Purpose == "master":
		_, _ = fmt.Fprintf(w, "rotated the master secret: %s is in force; the old one is accepted until the last session made with it is over\n", cell(done.Active.KID))
	case done.Scheduled && !done.Changed:
		_, _ = fmt.Fprintf(w, "No change: %s (%s) signs from %s on\n", cell(done.Next.KID), cell(done.Next.Algorithm), stamp(done.Signs))
	case done.Scheduled:
		_, _ = fmt.Fprintf(w, "scheduled: %s (%s) signs from %s on, when every service knows it; until then %s does\n",
			cell(done.Next.KID), cell(done.Next.Algorithm), stamp(done.Signs), what)
	case !done.Changed:
		_, _ = fmt.Fprintf(w, "No change: %s (%s) signs since %s\n", what, cell(done.Active.Algorithm), stamp(done.Signs))
	default:
		_, _ = fmt.Fprintf(w, "rotated: %s (%s) signs\n", what, cell(done.Active.Algorithm))
	}
}

func (o *operator) emitKeyRevoked(done broker.KeyRevoked) error {
	did := "revoked the key " + cell(done.Value)
	if done.Successor != "" {
		did += "; " + cell(done.Successor) + " signs"
	}
	if o.format == outputJSON {
		return o.emit(done, nil)
	}
	return o.emitRevoked(done.Revoked, did)
}
