package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
)

// liveRevocations returns the number of sessions that are revoked when a service or a broker
// starts. The environment variable TOKENBROKER_BENCH_LIVE replaces it, for a quick run.
func liveRevocations(tb testing.TB) int {
	tb.Helper()
	text := os.Getenv("TOKENBROKER_BENCH_LIVE")
	switch {
	case text == "" && testing.Short():
		return 1_000
	case text == "":
		return 1_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		tb.Fatalf("TOKENBROKER_BENCH_LIVE=%q is not a number", text)
	}
	return n
}

// BenchmarkServiceStart measures validator.New, from the call until the keys and a million live
// revocations are in memory. The broker reads its ledger again for each start. Its floor reads the
// same bytes from memory over HTTP into a golang-lru of the same capacity; the two alternate.
func BenchmarkServiceStart(b *testing.B) {
	live := liveRevocations(b)
	n := newNetwork(b, func(s store.Store, l *ledger.Ledger) { record(b, s, l, live) })
	if ctx := b.Context(); !n.publisher.Flushed(ctx, n.ledger.Origin(), n.ledger.Head()) {
		b.Fatal("the batches were not published")
	}
	answer := n.answer(b)
	static := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer)
	}))
	defer static.Close()
	var own, floor time.Duration
	times := 0
	for b.Loop() {
		times++
		own += stopwatch(func() {
			v := n.service(b)
			if got := v.Stats().Denylist; got != live {
				b.Fatalf("%d entries, want %d", got, live)
			}
			b.Cleanup(v.Close)
		})
		floor += stopwatch(func() {
			if err := readIntoLRU(b, static.URL, live); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.ReportMetric(own.Seconds()/float64(times), "s")
	b.ReportMetric(floor.Seconds()/float64(times), "floor-s")
	b.ReportMetric(own.Seconds()/floor.Seconds(), "x-floor")
	b.ReportMetric(float64(len(answer))/1e6, "MB")
}

// record fills a ledger with sessions that were revoked a moment ago.
func record(tb testing.TB, s store.Store, l *ledger.Ledger, live int) {
	tb.Helper()
	in := newIDs(live)
	in.end = time.Now().Unix() + 900
	for _, batch := range in.batches() {
		if err := s.Commit(context.Background(), []store.Change{{Events: batch}}, l.Seal)[0]; err != nil {
			tb.Fatal(err)
		}
		l.Committed()
	}
}

// answer returns the response that a service receives when it starts.
func (n *network) answer(tb testing.TB) []byte {
	tb.Helper()
	encoded, err := n.ledger.EncodedAnswer(tb.Context(), "", revocation.FormBinary)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = encoded.Close() }()
	var text bytes.Buffer
	if _, err := encoded.WriteTo(&text); err != nil {
		tb.Fatal(err)
	}
	return text.Bytes()
}

// readIntoLRU reads a response with the given number of events and keeps 16 bytes of each.
func readIntoLRU(tb testing.TB, url string, live int) error {
	tb.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	cache, chunk := newLRU(tb, live), make([]byte, 64<<10)
	each := int(resp.ContentLength) / live
	kept, left := 0, 0
	for {
		n, err := resp.Body.Read(chunk[left:])
		left += n
		at := 0
		for ; left-at >= each && kept < live; at += each {
			cache.Add([16]byte(chunk[at:at+16]), int64(kept))
			kept++
		}
		if kept == live {
			at = left
		}
		left = copy(chunk, chunk[at:left])
		switch {
		case errors.Is(err, io.EOF) && kept == live:
			return nil
		case err != nil:
			return fmt.Errorf("after %d events: %w", kept, err)
		}
	}
}
