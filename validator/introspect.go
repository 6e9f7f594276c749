package validator

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"tokenbroker/revocation"
)

const (
	introspectTimeout = 2 * time.Second
	introspectKept    = time.Second // how long an answer is used, from when it was requested
	introspectAnswers = 4096        // maximum number of answers in memory
	introspectAtOnce  = 64          // maximum number of concurrent requests; more are refused, not queued
	maxIntrospection  = 64 << 10

	jobIntrospect = "asking the broker about a token"
)

var (
	errBreakerOpen   = errors.New("the broker has not answered for a while")
	errTooManyAtOnce = errors.New("too many concurrent introspections")
	errClosed        = errors.New("the validator is closed")
)

// introspector asks the broker about single tokens (RFC 7662) if the data in memory is not sufficient. One
// request for a token serves all callers until it ends, and for up to a second after it was sent. Its
// goroutines, one for each request, end with close.
type introspector struct {
	broker   *brokerClient
	denylist *revocation.Denylist
	logger   *slog.Logger
	now      func() time.Duration // monotonic
	asked    atomic.Uint64
	breaker  breaker

	run  context.Context // cancelled by close
	stop context.CancelFunc

	mu       sync.Mutex
	closed   bool // guarded by mu, as all below
	running  int  // requests
	failing  bool
	flights  map[digest]*flight // the requests that can be joined
	answers  *simplelru.LRU[digest, answer]
	requests sync.WaitGroup // added to with mu held while not closed
}

// digest is the SHA-256 of a token, under which its answer is stored.
type digest [sha256.Size]byte

// answer is the broker's answer about a token.
type answer struct {
	active bool
	at     time.Duration // when the broker was asked; its knowledge is at least as recent
	mark   uint64        // of the denylist then, see [revocation.Denylist.Holds]
}

// flight is a running request. done closes once answer and err are set.
type flight struct {
	at     time.Duration
	done   chan struct{}
	answer answer
	err    error
}

func newIntrospector(broker *brokerClient, d *revocation.Denylist, logger *slog.Logger) *introspector {
	answers, err := simplelru.NewLRU[digest, answer](introspectAnswers, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	i := &introspector{
		broker: broker, denylist: d, logger: logger, now: monotonic,
		flights: make(map[digest]*flight),
		answers: answers,
	}
	i.run, i.stop = context.WithCancel(context.Background())
	return i
}

// close cancels the running requests and waits for them. Later calls fail.
func (i *introspector) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.stop()
	i.requests.Wait()
}

// active reports whether the broker considers the token valid, by an answer that is no older
// than bound. The token has passed every local check.
func (i *introspector) active(ctx context.Context, token string, bound time.Duration) (bool, error) {
	if err := ctx.Err(); err != nil { // also if an answer is kept
		return false, err
	}
	f, err := i.join(sha256.Sum256([]byte(token)), token, min(bound, introspectKept))
	if err != nil {
		return false, err
	}
	select {
	case <-f.done:
		return f.answer.active, f.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// join finds a kept answer or a running request, or sends one.
func (i *introspector) join(key digest, token string, bound time.Duration) (*flight, error) {
	now := i.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil, errClosed
	}
	if a, ok := i.answers.Peek(key); ok && now-a.at <= bound && i.denylist.Holds(a.mark) {
		f := &flight{done: make(chan struct{}), answer: a}
		close(f.done)
		return f, nil
	}
	if f := i.flights[key]; f != nil && now-f.at <= bound && i.denylist.Holds(f.answer.mark) {
		return f, nil
	}
	if i.running >= introspectAtOnce {
		return nil, errTooManyAtOnce
	}
	if !i.breaker.allow(now) {
		return nil, errBreakerOpen
	}
	f := &flight{at: now, done: make(chan struct{}), answer: answer{at: now, mark: i.denylist.Inserted()}}
	i.flights[key] = f
	i.running++
	i.asked.Add(1)
	i.requests.Go(func() { i.send(key, token, f) })
	return f, nil
}

// send makes the request and passes its result to all callers that wait for it.
func (i *introspector) send(key digest, token string, f *flight) {
	ctx, cancel := context.WithTimeout(i.run, introspectTimeout)
	defer cancel()
	f.answer.active, f.err = i.broker.introspect(ctx, token)
	i.broker.renewAfter(f.err)
	i.breaker.record(i.now(), f.err == nil)
	i.mu.Lock()
	i.running--
	if i.flights[key] == f {
		delete(i.flights, key)
	}
	if f.err == nil {
		if old, ok := i.answers.Peek(key); !ok || old.at <= f.at {
			i.answers.Add(key, f.answer)
		}
	}
	changed := i.failing != (f.err != nil) && !i.closed
	i.failing = f.err != nil
	i.mu.Unlock()
	close(f.done)
	switch {
	case changed && f.err != nil:
		i.logger.Warn(jobIntrospect+" fails", "error", f.err)
	case changed:
		i.logger.Info(jobIntrospect + " works again")
	}
}

// introspect asks about a token (RFC 7662 §2.1), with client_secret_basic (RFC 6749 §2.3.1).
func (b *brokerClient) introspect(ctx context.Context, token string) (bool, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.base+"/oauth2/introspect", strings.NewReader(form.Encode()))
	if err != nil {
		return false, fmt.Errorf("making the request: %w", err)
	}
	req.SetBasicAuth(url.QueryEscape(b.client.ID), url.QueryEscape(b.client.Secret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := b.http.Do(req)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := expectJSON(resp); err != nil {
		return false, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxIntrospection+1))
	if err != nil {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	var got struct {
		Active *bool `json:"active"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Active == nil || len(body) > maxIntrospection {
		return false, errors.New("the answer is not one of RFC 7662")
	}
	return *got.Active, nil
}

const (
	breakerFailures = 5               // in a row: the broker is considered down
	breakerPause    = 2 * time.Second // until another request is tried
)

// breaker stops requests to a broker that does not answer. It opens after breakerFailures in a row. After
// breakerPause it allows one request, whose result closes it or keeps it open for another pause. It has no
// clock: callers pass the time.
type breaker struct {
	mu       sync.Mutex
	failures int           // guarded by mu, as all below
	until    time.Duration // open until then
	probing  bool
}

// allow reports whether a request may be made now. The caller reports its result to record.
func (b *breaker) allow(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failures < breakerFailures:
		return true
	case now < b.until || b.probing:
		return false
	}
	b.probing = true
	return true
}

// record records the result of a request that was allowed.
func (b *breaker) record(now time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if ok {
		b.failures = 0
		return
	}
	b.failures = min(b.failures+1, breakerFailures)
	if b.failures == breakerFailures {
		b.until = now + breakerPause
	}
}
