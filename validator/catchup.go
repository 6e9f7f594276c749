package validator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"time"

	"tokenbroker/revocation"
)

const (
	// catchUpSilence is how long a catch-up may receive no byte.
	catchUpSilence = 4 * time.Second
	maxAnswerBytes = 512 << 20

	jobCatchUp = "catching up on revocations"
)

var errSilent = errors.New("no byte for 4 s")

func (s *syncer) startCatchUp(ctx context.Context, c revocation.CatchUp) {
	if s.cancelCatch != nil {
		s.cancelCatch()
	}
	s.counts.catchUps.Add(1)
	request, cancel := context.WithCancel(ctx)
	s.cancelCatch = cancel
	s.spawn(ctx, func() func() {
		defer cancel()
		answer, err := s.broker.fetchCatchUp(request, c.After, s.denied)
		givenUp := request.Err() != nil
		if !givenUp {
			s.broker.renewAfter(err)
		}
		return func() {
			if err != nil {
				s.counts.failedCatchUps.Add(1)
			}
			if !givenUp {
				s.jobDone(jobCatchUp, err)
			}
			s.perform(ctx, s.tracker.CatchUpDone(s.readClocks(), c.ID, answer, err))
		}
	})
}

// fetchCatchUp requests the events that were recorded after a position, or all if it is empty. The tokens
// and sessions of a binary answer are added to the denylist while the answer is read, and are not among
// its events.
func (b *brokerClient) fetchCatchUp(ctx context.Context, after string, into *revocation.Denylist) (*revocation.Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(catchUpSilence, func() { cancel(errSilent) })
	defer watchdog.Stop()

	query := url.Values{"speaks": {strconv.Itoa(revocation.Speaks)}}
	if after != "" {
		query.Set("after", after)
	}
	// A broker of an earlier version sends 102 Processing while it prepares the answer.
	trace := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
		restart(watchdog)
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, b.base+"/revocations?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.SetBasicAuth(b.client.ID, b.client.Secret)
	req.Header.Set("Accept", string(revocation.FormBinary)+", "+string(revocation.FormJSON)+";q=0.5")
	resp, err := b.http.Do(req)
	if err != nil {
		var named *url.Error
		if errors.As(err, &named) {
			named.URL = withoutQuery(req.URL)
		}
		return nil, causeOf(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	decode, err := decoderOf(resp, into)
	if err != nil {
		return nil, err
	}
	answer, err := decode(io.LimitReader(&watched{r: resp.Body, timer: watchdog}, maxAnswerBytes))
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	return answer, nil
}

// watched resets the watchdog with every byte.
type watched struct {
	r     io.Reader
	timer *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		restart(w.timer)
	}
	return n, err
}

// restart resets a watchdog that has not fired to its full time.
func restart(watchdog *time.Timer) {
	if watchdog.Stop() {
		watchdog.Reset(catchUpSilence)
	}
}

// causeOf returns the cause of ctx if ctx has ended, and otherwise err.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// decoderOf returns the decoder for an answer of that content type.
func decoderOf(resp *http.Response, into *revocation.Denylist) (func(io.Reader) (*revocation.Answer, error), error) {
	if err := expectOK(resp); err != nil {
		return nil, err
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == string(revocation.FormBinary):
		return into.ReadAnswer, nil
	case err == nil && kind == string(revocation.FormJSON):
		return revocation.DecodeAnswer, nil
	}
	return nil, lastingError{fmt.Errorf("%s answers with a content type that was not requested", resp.Request.URL.Redacted())}
}
