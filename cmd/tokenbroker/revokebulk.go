package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/revocation"
)

const (
	bulkRequests    = 4        // on their way at a time; two share a commit
	maxRequestBytes = 60 << 10 // of the values of one, in JSON: a body may have 64 KiB
	listedUnknown   = 20
)

// bulkDone is what became of a file.
type bulkDone struct {
	Values   int `json:"values"`
	Recorded int `json:"recorded"`
	Changed  int `json:"changed"`
	Unknown  int `json:"unknown"`
	// UnknownValues are as in the file: kind and value.
	UnknownValues []string `json:"unknown_values,omitempty"`
	Broadcast     bool     `json:"broadcast"`
	// What the services say of all of it, with --wait.
	*broker.ReceiptSummary
}

// bulkRun is a file on its way to the server.
type bulkRun struct {
	o   *operator
	why reasonFlags

	progress *bulkProgress

	mu   sync.Mutex
	done bulkDone // guarded by mu
}

// revokeBulk sends the list in requests that the server takes, a few at a time. After a
// failure nothing more is sent; what was acknowledged holds.
func (o *operator) revokeBulk(ctx context.Context, client *adminclient.Client, list bulkList, why reasonFlags) error {
	run := &bulkRun{o: o, why: why, done: bulkDone{Values: list.size(), Broadcast: true}}
	run.progress = newBulkProgress(o, run.done.Values)
	var failed atomic.Bool
	var requests errgroup.Group
	requests.SetLimit(bulkRequests)
	parts := list.requests()
	last := len(parts) - 1
	for _, part := range parts[:last] {
		if failed.Load() || ctx.Err() != nil {
			break
		}
		requests.Go(func() error {
			err := run.send(ctx, client.Waiting(0), part)
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
	if err == nil { // who has applied the last of them has applied all
		err = run.send(ctx, client, parts[last])
	}
	run.progress.end()
	if err != nil {
		return fmt.Errorf("revoking: %d of %d are acknowledged and hold; run it again for the rest: %w",
			run.done.Recorded+run.done.Unknown, run.done.Values, err)
	}
	return run.report()
}

// bulkRequest is what goes in one request.
type bulkRequest struct {
	kind   revocation.Kind
	values []string
}

// requests are the parts that the list is sent in; at least one, for a list is not empty.
func (l bulkList) requests() (parts []bulkRequest) {
	for _, kind := range bulkKinds {
		for values := l[kind]; len(values) > 0; {
			n := requestSize(values)
			parts = append(parts, bulkRequest{kind, values[:n]})
			values = values[n:]
		}
	}
	return parts
}

// requestSize is how many of the values go into the next request.
func requestSize(values []string) int {
	bytes := 0
	for i, v := range values {
		bytes += jsonLength(v) + 1
		if i > 0 && (i == broker.MaxBulkRevocation || bytes > maxRequestBytes) {
			return i
		}
	}
	return len(values)
}

// jsonLength is the length of text as a JSON string: what may be escaped takes six bytes.
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

func (b *bulkRun) send(ctx context.Context, client *adminclient.Client, part bulkRequest) error {
	got, err := client.RevokeBulk(ctx, adminclient.BulkRevocation{
		Kind: part.kind, Values: part.values, Reason: revocation.Reason(b.why.reason), Note: b.why.note,
	})
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	d := &b.done
	d.Recorded += got.Recorded
	d.Changed += got.Changed
	d.Unknown += got.Unknown
	d.Broadcast = d.Broadcast && got.Broadcast
	d.ReceiptSummary = got.ReceiptSummary
	for _, v := range got.UnknownValues {
		d.UnknownValues = append(d.UnknownValues, string(part.kind)+" "+v)
	}
	b.progress.add(got.Recorded + got.Unknown)
	return nil
}

func (b *bulkRun) report() error {
	d := b.done
	if b.o.format == outputText {
		for i, v := range d.UnknownValues {
			if i == listedUnknown {
				_, _ = fmt.Fprintf(b.o.stderr, "and %d more; --output json has them all\n", len(d.UnknownValues)-i)
				break
			}
			_, _ = fmt.Fprintf(b.o.stderr, "not known: %s\n", adminclient.Plain(v))
		}
	}
	return b.o.emit(d, func(w io.Writer) {
		state := "broadcast to the services"
		if !d.Broadcast {
			state = "the broadcast to services is pending"
		}
		_, _ = fmt.Fprintf(w, "recorded %d of %d (%d of them now, %d not known): %s\n", d.Recorded, d.Values, d.Changed, d.Unknown, state)
		b.o.printReceipts(w, d.ReceiptSummary)
	})
}
