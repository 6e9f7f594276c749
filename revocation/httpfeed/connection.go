package httpfeed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"time"

	"tokenbroker/internal/httpclient"
	"tokenbroker/revocation"
)

// The paths below the issuer's URL.
const (
	streamPath  = "/revocations/stream"
	receiptPath = "/revocations/receipt"
)

// speaks is the query that states the version of the protocol.
var speaks = "?speaks=" + strconv.Itoa(revocation.Speaks)

// liveBytes is how many bytes of an incomplete event also count as a sign of life: 100 kbit/s.
const liveBytes = 64 << 10

var (
	errConnected = errors.New("the stream was opened again")
	errReset     = errors.New("the broker no longer knows the position")
	errSilent    = errors.New("the stream is silent")
	errEnded     = errors.New("the broker ended the stream")
)

// refusedError is the error of an unexpected response.
type refusedError struct {
	path       string
	status     string
	retryAfter time.Duration
	hint       string
}

func (e *refusedError) Error() string { return e.path + " answers " + e.status + e.hint }

// refusal describes an unexpected response.
func refusal(path string, resp *http.Response) *refusedError {
	e := &refusedError{path: path, status: resp.Status}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.hint = ": check the client's id and secret"
	case http.StatusNotAcceptable:
		e.hint = fmt.Sprintf(" %.64q", httpclient.ProblemCode(resp.Body))
	}
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.retryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// run streams until ctx ends.
func (s *subscription) run(ctx context.Context) {
	defer close(s.done)
	backoff := time.Duration(0)
	for {
		lived, err := s.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		s.connections.Renew() // another broker may serve the stream
		s.attempted()
		s.report(err)
		least := s.feed.timing.backoff
		if s.retry > 0 {
			least = min(s.retry, s.feed.timing.longest)
		}
		if lived || backoff == 0 {
			backoff = least
		} else {
			backoff = min(2*backoff, s.feed.timing.longest)
		}
		wait := backoff/2 + rand.N(backoff/2+1) //nolint:gosec // jitter
		var refused *refusedError
		if errors.As(err, &refused) {
			wait = max(wait, min(refused.retryAfter, s.feed.timing.longest))
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// attempted ends the wait of Open.
func (s *subscription) attempted() {
	if !s.tried {
		s.tried = true
		close(s.connected)
	}
}

// report logs when the stream fails with another error than before. A nil err means that it works.
func (s *subscription) report(err error) {
	log := s.feed.Logger.With("url", s.issuer+streamPath)
	switch {
	case err == nil && s.failing != "":
		s.failing = ""
		log.Info("the revocation stream works again")
	case err != nil && err.Error() != s.failing:
		s.failing = err.Error()
		log.Warn("the revocation stream fails; until it is back, revocations arrive by catch-up", "error", err)
	}
}

// stream makes one connection and delivers its events until it ends. lived reports whether the connection
// was established.
func (s *subscription) stream(ctx context.Context) (lived bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := s.feed.timing.silence
	watchdog := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%w for %s", errSilent, silence)) })
	defer watchdog.Stop()
	alive := func() {
		if watchdog.Stop() {
			watchdog.Reset(silence)
		}
	}
	body, err := s.request(ctx)
	if err != nil {
		return false, causeOf(ctx, err)
	}
	defer func() { _ = body.Close() }()

	gap := s.tried // an attempt failed before, or a connection was lost
	if s.late.Load() || gap {
		gap = true
		s.sink.Gap(errConnected)
	}
	s.attempted()
	p := newParser(&activityReader{r: body, alive: alive})
	p.lastID = s.position
	for first := true; ; first = false {
		e, err := p.next()
		s.retry = p.retry
		if errors.Is(err, io.EOF) {
			err = errEnded
		}
		if err != nil {
			return lived, causeOf(ctx, err)
		}
		if ctx.Err() != nil { // closed: the sink is not called again
			return lived, context.Cause(ctx)
		}
		alive()
		lived = true
		s.report(nil)
		s.position = p.lastID
		switch e.name {
		case "batch", "heartbeat":
			s.sink.Message(e.data)
		case "reset":
			if !first || !gap { // otherwise the catch-up for it is already under way
				s.sink.Gap(errReset)
			}
		}
	}
}

// request opens the stream after the last position.
func (s *subscription) request(ctx context.Context) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.issuer+streamPath+speaks, nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.SetBasicAuth(s.feed.Client.ID, s.feed.Client.Secret)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Accept-Encoding", "identity") // compressors buffer events
	req.Header.Set("Cache-Control", "no-cache")
	if s.position != "" {
		req.Header.Set("Last-Event-ID", s.position)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	refused := refusal(streamPath, resp)
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusOK && err == nil && kind == "text/event-stream":
		return resp.Body, nil
	case resp.StatusCode == http.StatusOK:
		refused.hint = ", but no events"
	case resp.StatusCode == http.StatusBadRequest:
		s.position = "" // the broker does not accept it
	}
	_ = resp.Body.Close()
	return nil, refused
}

// causeOf returns the cause of ctx if ctx has ended, and otherwise err.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// activityReader calls alive each time liveBytes bytes were read.
type activityReader struct {
	r     io.Reader
	alive func()
	read  int
}

func (l *activityReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.read += n; l.read >= liveBytes {
		l.read = 0
		l.alive()
	}
	return n, err
}
