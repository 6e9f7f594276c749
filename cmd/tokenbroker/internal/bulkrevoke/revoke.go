// Package bulkrevoke revokes the values that a file lists. It reads the list, sends it in requests that the
// server accepts, a few at a time, and reports what was recorded.
package bulkrevoke

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

const (
	concurrentRequests = 4        // two of them share a commit
	maxRequestBytes    = 60 << 10 // for the values of one request, in JSON: the server accepts bodies of 64 KiB
	maxPrintedUnknown  = 20
)

// Reason is why the values are revoked: the code that services see, and the note for the audit log.
type Reason struct {
	Code revocation.Reason
	Note string
}

// Result is the result of revoking a list.
type Result struct {
	Values   int `json:"values"`
	Recorded int `json:"recorded"`
	Changed  int `json:"changed"`
	Unknown  int `json:"unknown"`
	// UnknownValues are the values that the server does not know, each as its kind and the value.
	UnknownValues []string `json:"unknown_values,omitempty"`
	Broadcast     bool     `json:"broadcast"`
	// ReceiptSummary covers the whole list. It is nil without --wait.
	*broker.ReceiptSummary
}

// Revoke sends a list, which must not be empty, in requests that the server accepts, a few at a time. After an
// error it sends no more requests; the acknowledged values stay revoked. If the client waits for services, only
// the last request does: a service that has applied it has applied all the others.
func Revoke(ctx context.Context, client *adminclient.Client, list List, why Reason, progress *terminal.Progress) (Result, error) {
	r := &run{why: why, progress: progress, result: Result{Values: list.Size(), Broadcast: true}}
	var failed atomic.Bool
	var requests errgroup.Group
	requests.SetLimit(concurrentRequests)
	parts := list.requests()
	last := len(parts) - 1
	for _, part := range parts[:last] {
		if failed.Load() || ctx.Err() != nil {
			break
		}
		requests.Go(func() error {
			err := r.send(ctx, client.Waiting(0), part)
			if err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	err := requests.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = r.send(ctx, client, parts[last])
	}
	progress.End()
	if err != nil {
		return r.result, fmt.Errorf("revoking: %d of %d values were acknowledged and stay revoked; run the command again for the rest: %w",
			r.result.Recorded+r.result.Unknown, r.result.Values, err)
	}
	return r.result, nil
}

// run is one call of [Revoke].
type run struct {
	why      Reason
	progress *terminal.Progress

	mu     sync.Mutex // guards result
	result Result
}

// request is one request for values of a kind.
type request struct {
	kind   revocation.Kind
	values []string
}

// requests returns the requests for the list: at least one, because a list is not empty.
func (l List) requests() (parts []request) {
	for _, kind := range kinds {
		for values := l[kind]; len(values) > 0; {
			n := requestSize(values)
			parts = append(parts, request{kind, values[:n]})
			values = values[n:]
		}
	}
	return parts
}

// requestSize returns the number of values that go into the next request.
func requestSize(values []string) int {
	bytes := 0
	for i, v := range values {
		bytes += jsonLength(v) + 1
		if i > 0 && (i == operator.MaxBulkRevocation || bytes > maxRequestBytes) {
			return i
		}
	}
	return len(values)
}

// jsonLength returns an upper bound of the length of text as a JSON string: a character that may be escaped
// takes six bytes.
func jsonLength(text string) int {
	n := 2
	for i := range len(text) {
		if c := text[i]; c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			n++
			continue
		}
		n += 6
	}
	return n
}

func (r *run) send(ctx context.Context, client *adminclient.Client, part request) error {
	got, err := client.RevokeBulk(ctx, adminclient.BulkRevocation{
		Kind: part.kind, Values: part.values, Reason: r.why.Code, Note: r.why.Note,
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &r.result
	d.Recorded += got.Recorded
	d.Changed += got.Changed
	d.Unknown += got.Unknown
	d.Broadcast = d.Broadcast && got.Broadcast
	d.ReceiptSummary = got.ReceiptSummary
	for _, v := range got.UnknownValues {
		d.UnknownValues = append(d.UnknownValues, string(part.kind)+" "+v)
	}
	r.progress.Add(got.Recorded + got.Unknown)
	return nil
}

// PrintUnknown prints the first of the values that the server does not know.
func (r Result) PrintUnknown(w io.Writer) {
	for i, v := range r.UnknownValues {
		if i == maxPrintedUnknown {
			_, _ = fmt.Fprintf(w, "and %d more; --output json lists all\n", len(r.UnknownValues)-i)
			return
		}
		_, _ = fmt.Fprintf(w, "unknown: %s\n", terminal.Plain(v))
	}
}

// WriteText prints the result of a run with --wait wait.
func (r Result) WriteText(w io.Writer, wait time.Duration) {
	state := "broadcast to the services"
	if !r.Broadcast {
		state = "the broadcast to services is pending"
	}
	_, _ = fmt.Fprintf(w, "recorded %d of %d (%d new, %d unknown): %s\n", r.Recorded, r.Values, r.Changed, r.Unknown, state)
	printer.Receipts(w, r.ReceiptSummary, wait)
}
