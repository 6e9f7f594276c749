// Package httpfeed delivers revocation messages over HTTP, for services without NATS: [Feed] reads the
// broker's GET /revocations/stream as the service's client, and posts receipts. The messages and their
// signatures are the same as over NATS.
package httpfeed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"tokenbroker/internal/httpclient"
	"tokenbroker/revocation"
)

var _ revocation.Feed = Feed{}

// Client is the service's own account at the broker. It is the same type as validator.Client.
type Client = revocation.Client

// Feed is a [revocation.Feed] over HTTP. URL and Client are required. It is a value and may
// be copied; each Open has its own stream.
type Feed struct {
	// URL is the issuer's URL.
	URL    string
	Client Client
	// HTTPClient sends the requests. If nil, [http.DefaultClient] is used. Its Timeout is
	// ignored, and redirects are not followed.
	HTTPClient *http.Client
	// Logger receives a line when the stream starts to fail and when it works again. If nil,
	// [slog.Default] is used.
	Logger *slog.Logger

	timing timing // for tests
}

// timing has the durations of waits. Zero fields get the defaults.
type timing struct {
	first   time.Duration // how long Open waits for the stream
	silence time.Duration // how long a stream may be silent before it is considered dead
	backoff time.Duration // the first wait before another attempt, if the broker names none
	longest time.Duration // the longest wait
}

func (t *timing) fill() {
	for _, f := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&t.first, 2 * time.Second},
		{&t.silence, 5 * time.Second}, // a heartbeat comes each second
		{&t.backoff, 250 * time.Millisecond},
		{&t.longest, 10 * time.Second},
	} {
		if *f.value <= 0 {
			*f.value = f.usual
		}
	}
}

// Open subscribes. A broker that cannot be reached, or that refuses the request, is not an error: the
// stream is retried with a growing wait until it is closed. Each attempt uses a new connection, so that a load balancer
// can choose another of several brokers of one store, for which the position is also valid. The sink gets a Gap
// whenever the stream was established again or the broker did not know the position.
func (f Feed) Open(ctx context.Context, sink revocation.Sink) (io.Closer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("opening the HTTP feed: %w", err)
	}
	base, err := url.Parse(f.URL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, errors.New("opening the HTTP feed: the URL must be the issuer's, with http:// or https://")
	}
	if f.Client.ID == "" {
		return nil, errors.New("opening the HTTP feed: the client's id is missing")
	}
	f.timing.fill()
	if f.Logger == nil {
		f.Logger = slog.Default()
	}

	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &subscription{
		feed: f, issuer: strings.TrimRight(f.URL, "/"), sink: sink,
		cancel: cancel, connected: make(chan struct{}), done: make(chan struct{}),
	}
	s.client, s.connections = httpclient.Renewable(f.HTTPClient)
	go s.run(run)

	// Wait until the stream is open, so that a later catch-up misses nothing. If it opens after Open
	// returned, that is a gap.
	timer := time.NewTimer(f.timing.first)
	defer timer.Stop()
	select {
	case <-s.connected:
	case <-timer.C:
	case <-ctx.Done():
		_ = s.Close()
		return nil, fmt.Errorf("opening the HTTP feed: %w", ctx.Err())
	}
	s.late.Store(true)
	return s, nil
}

// subscription is one open feed. Only its one goroutine calls the sink; Close ends it.
type subscription struct {
	feed        Feed
	issuer      string // the issuer's URL without a slash at the end
	client      *http.Client
	connections *httpclient.Connections // those of client
	sink        revocation.Sink
	cancel      context.CancelFunc

	late      atomic.Bool   // true once Open has returned: from then on, a connection is a gap
	connected chan struct{} // closed with the first connection, or the first failure
	done      chan struct{}

	// Used only by the goroutine.
	tried    bool
	position string
	retry    time.Duration
	failing  string // the fault that was last logged, or ""
}

// Close ends the stream. After it has returned, the sink is not called again. Close may be called
// more than once.
func (s *subscription) Close() error {
	s.cancel()
	<-s.done
	s.connections.CloseIdleConnections()
	return nil
}

var _ revocation.ReceiptSender = (*subscription)(nil)

// receiptTimeout is the time limit for sending one receipt.
const receiptTimeout = 2 * time.Second

// SendReceipt implements [revocation.ReceiptSender]: POST /revocations/receipt, as the feed's
// client, within two seconds. Redirects are not followed.
func (s *subscription) SendReceipt(ctx context.Context, r revocation.Receipt) error {
	raw, err := revocation.EncodeReceipt(r)
	if err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.issuer+receiptPath, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	req.SetBasicAuth(s.feed.Client.ID, s.feed.Client.Secret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // a 204 has no body, and the body of another status is not read
	if resp.StatusCode != http.StatusNoContent {
		return refusal(receiptPath, resp)
	}
	return nil
}
