// Package printer prints what the operators' API answers as text for a terminal: tables, states, and the
// stream of "tokenbroker watch".
package printer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

// ErrPrinting is in the chain of errors of the output.
var ErrPrinting = errors.New("printing events")

const (
	// watchedEvents is how many events of a batch are printed as text.
	watchedEvents = 20
	shortOrigin   = 6
	watchHeader   = "TIME (UTC)    KIND     VALUE                                 REASON          BATCH"
)

// Watch prints events as they come. As text, a batch is printed when it is known how many services have
// applied it. Watch is not safe for concurrent use.
type Watch struct {
	out    io.Writer
	format terminal.Format
	kind   revocation.Kind // "" for events of all kinds

	headed  bool
	waiting []admin.WatchRevocation
	// shown are the batches that contain a revocation of the kind.
	shown map[uint64]bool
}

// NewWatch returns a printer of the events of one kind, or of all events if kind is "".
func NewWatch(out io.Writer, format terminal.Format, kind revocation.Kind) *Watch {
	return &Watch{out: out, format: format, kind: kind, shown: map[uint64]bool{}}
}

// Begin prints the header on its first call.
func (p *Watch) Begin() {
	if p.format == terminal.Text && !p.headed {
		p.headed = true
		_, _ = fmt.Fprintln(p.out, watchHeader) // a failure shows at the first event
	}
}

// Take prints an event, or keeps it for later. The error is [ErrPrinting], or reports a malformed event.
func (p *Watch) Take(e admin.WatchEvent) error {
	if e.Name == admin.WatchTypeRevocation {
		var v admin.WatchRevocation
		if err := decodeWatch(e, &v); err != nil {
			return err
		}
		return p.revocation(e, v)
	}
	if e.Name == admin.WatchTypeApplied {
		var v admin.WatchApplied
		if err := decodeWatch(e, &v); err != nil {
			return err
		}
		return p.applied(e, v)
	}
	if p.kind != "" {
		return nil
	}
	if p.format == terminal.JSON {
		return p.printJSON(e.Data)
	}
	switch e.Name {
	case admin.WatchTypeService:
		var v admin.WatchService
		if err := decodeWatch(e, &v); err != nil {
			return err
		}
		return p.print(serviceLine(v))
	case admin.WatchTypeKey:
		var v admin.WatchKey
		if err := decodeWatch(e, &v); err != nil {
			return err
		}
		return p.print(keyLine(v))
	}
	return nil // an unknown event, of a newer server
}

func decodeWatch(e admin.WatchEvent, v any) error {
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("the server sent a malformed event %s: %w", terminal.Plain(e.Name), err)
	}
	return nil
}

func (p *Watch) revocation(e admin.WatchEvent, v admin.WatchRevocation) error {
	if p.kind != "" {
		v.Events = slices.DeleteFunc(v.Events, func(e revocation.Event) bool { return e.Kind != p.kind })
		if len(v.Events) == 0 {
			return nil
		}
		p.shown[v.Seq] = true
	}
	if p.format == terminal.Text {
		p.waiting = append(p.waiting, v)
		return nil
	}
	if p.kind == "" {
		return p.printJSON(e.Data)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encoding an event: %w", err)
	}
	return p.printJSON(bytes.TrimSpace(b.Bytes()))
}

func (p *Watch) applied(e admin.WatchEvent, v admin.WatchApplied) error {
	if p.kind != "" && !p.shown[v.Seq] {
		return nil
	}
	maps.DeleteFunc(p.shown, func(seq uint64, _ bool) bool { return seq <= v.Seq })
	if p.format == terminal.JSON {
		return p.printJSON(e.Data)
	}
	for len(p.waiting) > 0 && p.waiting[0].Seq <= v.Seq {
		b := p.waiting[0]
		p.waiting = p.waiting[1:]
		reach := ""
		if b.Seq == v.Seq {
			reach = appliedText(v)
		}
		if err := p.print(batchLines(b, reach)); err != nil {
			return err
		}
	}
	return nil
}

// Flush prints the batches that wait, because no more events about them will come.
func (p *Watch) Flush() error {
	defer func() { p.waiting = nil; clear(p.shown) }()
	for _, b := range p.waiting {
		if err := p.print(batchLines(b, "")); err != nil {
			return err
		}
	}
	return nil
}

// printJSON prints one line of JSON without characters that control a terminal.
func (p *Watch) printJSON(line []byte) error {
	return p.print(string(terminal.PlainJSON(string(line))) + "\n")
}

func (p *Watch) print(text string) error {
	if _, err := io.WriteString(p.out, text); err != nil {
		return fmt.Errorf("%w: %w", ErrPrinting, err)
	}
	return nil
}

// batchLines returns the lines of a batch; reach says how many services have applied it, or is "".
func batchLines(b admin.WatchRevocation, reach string) string {
	sent := "recorded, not yet sent to NATS"
	if b.FlushedMS != nil {
		sent = "sent in " + milliseconds(*b.FlushedMS)
	}
	if reach != "" {
		sent += ", " + reach
	}
	batch := fmt.Sprintf("%s.%d", terminal.Cell(b.Origin[:min(shortOrigin, len(b.Origin))]), b.Seq)
	var lines strings.Builder
	for i, e := range b.Events {
		if i == watchedEvents {
			lines.WriteString(watchLine(b.At, "", fmt.Sprintf("and %d more", len(b.Events)-i), "", batch+"  "+sent))
			break
		}
		lines.WriteString(watchLine(b.At, string(e.Kind), e.Value, string(e.Reason), batch+"  "+userOf(b, e)+sent))
	}
	return lines.String()
}

// userOf returns the name of the user that an event revokes, or "" if the server did not send it.
func userOf(b admin.WatchRevocation, e revocation.Event) string {
	if name := b.Users[e.Value]; name != "" {
		return "of " + terminal.Plain(name) + ", "
	}
	return ""
}

func appliedText(v admin.WatchApplied) string {
	switch {
	case v.Of == 0:
		return "no service is heard"
	case v.Applied == 0:
		return fmt.Sprintf("applied by none of %s; not yet: %s", terminal.Count(v.Of, "service"), terminal.Cells(v.Laggards))
	case v.Applied < v.Of:
		return fmt.Sprintf("applied by %d of %s in %s; not yet: %s", v.Applied, terminal.Count(v.Of, "service"), milliseconds(v.SlowestMS), terminal.Cells(v.Laggards))
	}
	return fmt.Sprintf("applied by %d of %s in %s", v.Applied, terminal.Count(v.Of, "service"), milliseconds(v.SlowestMS))
}

func serviceLine(v admin.WatchService) string {
	text := "of " + terminal.Cell(v.Source)
	if v.Before != "" {
		text = "was " + terminal.Cell(v.Before)
	}
	if v.Speaker != "" {
		text += ", hears " + terminal.Cell(cmp.Or(v.SpeakerName, v.Speaker))
	}
	if v.Lag == 1 {
		text += ", 1 batch behind"
	} else if v.Lag > 1 {
		text += fmt.Sprintf(", %d batches behind", v.Lag)
	}
	return watchLine(v.At, "service", v.Service, v.State, text)
}

func keyLine(v admin.WatchKey) string {
	return watchLine(v.At, "key", v.KID, v.What, strings.Join([]string{terminal.Cell(v.Purpose), terminal.Cell(v.Algorithm), terminal.Cell(v.State)}, " "))
}

// watchLine returns an aligned line. It escapes control characters in all parts except rest.
func watchLine(at time.Time, kind, value, reason, rest string) string {
	return fmt.Sprintf("%s  %-7s  %-36s  %-14s  %s\n", at.UTC().Format("15:04:05.000"), terminal.Cell(kind), terminal.Cell(value), terminal.Cell(reason), rest)
}

func milliseconds(ms int64) string {
	if ms < 1 {
		return "under 1 ms"
	}
	return fmt.Sprintf("%d ms", ms)
}
