package validator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tokenbroker/revocation"
)

// ErrMisconfigured is in the error of [New] when the broker, or what answers in its place,
// refused something that another attempt cannot change.
var ErrMisconfigured = errors.New("check the configuration")

// start subscribes, begins to follow the issuer and returns when keys and live revocations
// are in memory. When ctx ends before, when that takes longer than the start timeout, or
// when an answer cannot be helped by another attempt, everything is stopped and the error
// says what was missing. It is called once.
func (s *syncer) start(ctx context.Context) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = cancel
	if limit := s.cfg.StartTimeout; limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready within %s (StartTimeout)", limit))
		defer stop()
	}
	feed, err := s.cfg.Feed.Open(ctx, s)
	if err != nil {
		cancel()
		close(s.stopped)
		return fmt.Errorf("opening the revocation feed: %w", err)
	}
	s.link, _ = feed.(revocation.Link)
	if sender, ok := feed.(revocation.ReceiptSender); ok {
		s.reporter = newReporter(sender, s.cfg.Service, &s.counts, s.cfg.Logger)
		go s.reporter.run(run)
	}
	go func() {
		defer close(s.stopped)
		s.run(run)
		if s.reporter != nil {
			<-s.reporter.done
		}
		if err := feed.Close(); err != nil {
			s.cfg.Logger.Warn("closing the revocation feed", "error", err)
		}
	}()
	select {
	case <-s.ready:
		return nil
	case err = <-s.hopeless:
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", context.Cause(ctx), s.staleBecause(s.now.Load(), monotonic()))
	}
	s.close()
	return fmt.Errorf("following %s: %w", s.cfg.Issuer, err)
}

// giveUp ends a start whose job failed for a reason that another attempt cannot change. The
// feed is not one of them: without it, a service is slower to hear of revocations.
func (s *syncer) giveUp(job string, err error) {
	if s.isReady || job == jobFeed || !lasting(err) {
		return
	}
	select {
	case s.hopeless <- fmt.Errorf("%w: %s: %w", ErrMisconfigured, job, err):
	default: // one reason is enough
	}
}

// lastingError is a reason that another attempt cannot change.
type lastingError struct{ error }

func (e lastingError) Unwrap() error { return e.error }

// lasting reports whether another attempt would fail for the same reason: the answer is a
// redirect or a refusal (RFC 9110 §15.4, §15.5) other than "later", it is not a broker's, or
// the peer's certificate is not good.
func lasting(err error) bool {
	var answer *statusError
	if errors.As(err, &answer) {
		switch answer.code {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
			return false
		}
		return answer.code >= 300 && answer.code < 500
	}
	var content lastingError
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &content) || errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch)
}

// statusError is an answer with another status than 200.
type statusError struct {
	address string
	code    int
	status  string
	hint    string
	// retryAfter is when the broker wants to be asked again; 0 if it does not say.
	retryAfter time.Duration
}

// RetryAfter is what [revocation.Tracker.CatchUpDone] looks for.
func (e *statusError) RetryAfter() time.Duration { return e.retryAfter }

func (e *statusError) Error() string { return e.address + " answers " + e.status + e.hint }

// expectOK refuses every status but 200.
func expectOK(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	e := &statusError{address: resp.Request.URL.Redacted(), code: resp.StatusCode, status: resp.Status}
	switch {
	case e.code == http.StatusUnauthorized, e.code == http.StatusForbidden:
		e.hint = ": check the client's id and secret"
	case e.code == http.StatusNotFound:
		e.hint = ": check that Issuer is the broker's public_url"
	case e.code == http.StatusServiceUnavailable, e.code == http.StatusTooManyRequests:
		if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil && seconds > 0 {
			e.retryAfter = time.Duration(seconds) * time.Second
			e.hint = ": it asks for another try after " + e.retryAfter.String()
		}
	case e.code >= 300 && e.code < 400:
		e.hint = fmt.Sprintf(" to %.200q, which is not followed: Issuer has to be the broker's public_url", resp.Header.Get("Location"))
	}
	return e
}
