package validator

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/revocation"
)

const (
	fakeIssuer = "http://issuer.test"
	fakeSecret = "a secret of the service"
)

// life is a broker and its feed without a network: everything runs in the test's bubble.
type life struct {
	t *testing.T

	mu sync.Mutex
	// mu guards everything below.
	store, origin string
	began         time.Time
	recorded      []revocation.Event // by all lives of this store, in order
	heads         map[string]int     // origin → events recorded before its first batch
	seq           int
	others        []revocation.OriginHead // further origins that answers list
	kids          []string
	tokenKeys     []string
	feedKID       string
	binary        bool // the form of the answers
	httpDown      bool
	feedDown      bool
	linkErr       error                                       // what the feed says of itself
	instead       func(*http.Request) (*http.Response, error) // answers in the broker's place, or neither
	hang          chan struct{}
	requests      map[string]int
	after         []string
	sinks         map[*subscription]revocation.Sink
	wallStep      time.Duration // of the service's wall clock
	wallReads     int
	stopped       time.Duration // how long every other reading of the wall clock waits for a core
	clockStep     time.Duration // of the broker's clock
	log           lockedLog
	// What became of receipts; refuse makes sending them fail or wait.
	receipts []revocation.Receipt
	refuse   func(context.Context) error
}

type subscription struct{ of *life }

func (s *subscription) Close() error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	delete(s.of.sinks, s)
	return nil
}

func (s *subscription) Err() error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.of.linkErr
}

func (s *subscription) SendReceipt(ctx context.Context, r revocation.Receipt) error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if _, ok := s.of.sinks[s]; !ok {
		s.of.t.Error("a receipt after Close")
	}
	if refuse := s.of.refuse; refuse != nil {
		s.of.mu.Unlock()
		defer s.of.mu.Lock()
		return refuse(ctx)
	}
	s.of.receipts = append(s.of.receipts, r)
	return nil
}

func (l *life) Open(_ context.Context, sink revocation.Sink) (io.Closer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &subscription{l}
	l.sinks[s] = sink
	return s, nil
}

// inBubble runs a test with a broker and a syncer that is not started, in fake time.
func inBubble(t *testing.T, test func(t *testing.T, l *life, s *syncer)) {
	synctest.Test(t, func(t *testing.T) {
		l := &life{
			t: t, store: "S", origin: "o1", began: time.Now().Add(-time.Minute),
			heads: map[string]int{"o1": 0}, tokenKeys: []string{"k1"}, feedKID: "f1",
			requests: make(map[string]int), sinks: make(map[*subscription]revocation.Sink),
		}
		cfg := Config{
			Issuer: fakeIssuer, Client: Client{ID: "service", Secret: fakeSecret}, Feed: l,
			HTTPClient:   &http.Client{Transport: l},
			StartTimeout: -1,
			Logger:       slog.New(slog.NewTextHandler(lockedWriter{l}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		cfg.setDefaults()
		s := newSyncer(cfg)
		s.name, s.wall = "service/1", l.wall
		test(t, l, s)
		if s.stop != nil {
			s.close()
		}
		if l.logged(fakeSecret) {
			t.Error("the secret is in the log")
		}
	})
}

type lockedWriter struct{ l *life }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	return w.l.log.Write(p)
}

// clockMS is the broker's clock. It is called with mu held.
func (l *life) clockMS() int64 { return time.Now().Add(l.clockStep).UnixMilli() }

func (l *life) wall() time.Time {
	l.mu.Lock()
	at, stopped := time.Now().Add(l.wallStep), l.stopped
	if l.wallReads++; l.wallReads%2 == 0 {
		stopped = 0
	}
	l.mu.Unlock()
	time.Sleep(stopped)
	return at
}

// set changes the broker under its lock.
func (l *life) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func keyNamed(kid string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(fmt.Appendf(nil, "%-32s", kid))
}

// RoundTrip answers as the broker does.
func (l *life) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	l.requests[r.URL.Path]++
	hang, down, instead := l.hang, l.httpDown, l.instead
	l.mu.Unlock()
	if down {
		return nil, io.ErrUnexpectedEOF
	}
	if instead != nil {
		if resp, err := instead(r); resp != nil || err != nil {
			return resp, err
		}
	}
	w := httptest.NewRecorder()
	if r.URL.Path == "/revocations" && hang != nil {
		l.answer(w, r) // the view is taken, the answer is slow
		select {
		case <-hang:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	} else {
		l.answer(w, r)
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func (l *life) answer(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		l.json(w, map[string]any{
			"issuer": fakeIssuer, "jwks_uri": fakeIssuer + "/keys", "access_token_max_lifetime": 900,
		})
	case "/keys":
		l.keys(w, r, l.tokenKeys)
	case "/revocations/jwks.json":
		l.keys(w, r, []string{l.feedKID})
	case "/revocations":
		if id, secret, _ := r.BasicAuth(); id != "service" || secret != fakeSecret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if want := "application/vnd.tokenbroker.revocations, application/json;q=0.5"; r.Header.Get("Accept") != want {
			l.t.Errorf("a catch-up accepts %q", r.Header.Get("Accept"))
		}
		l.catchUp(w, r.URL.Query().Get("after"))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (l *life) keys(w http.ResponseWriter, r *http.Request, kids []string) {
	set := []jose.JSONWebKey{}
	for _, kid := range kids {
		set = append(set, jose.JSONWebKey{Key: keyNamed(kid).Public(), KeyID: kid, Algorithm: "EdDSA", Use: "sig"})
	}
	etag := l.etag(kids)
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	l.json(w, map[string]any{"keys": set, "store": l.store})
}

func (l *life) etag(kids []string) string {
	return `"` + l.store + "-" + strings.Join(kids, "-") + `"`
}

func (l *life) catchUp(w http.ResponseWriter, after string) {
	l.after = append(l.after, after)
	a := revocation.Answer{
		V: 1, Store: l.store, Origin: l.origin, Up: time.Since(l.began).Milliseconds(), AtMS: l.clockMS(),
		Full: true, Origins: append([]revocation.OriginHead{{Origin: l.origin, Head: uint64(l.seq)}}, l.others...), Kids: l.kids, Events: l.recorded,
	}
	for one := range strings.SplitSeq(after, ",") {
		origin, seq, _ := strings.Cut(one, ".")
		n, err := strconv.Atoi(seq)
		if first, ok := l.heads[origin]; ok && err == nil && first+n <= len(l.recorded) {
			a.Full, a.Events = false, l.recorded[first+n:]
		}
	}
	if !l.binary {
		l.json(w, a)
		return
	}
	w.Header().Set("Content-Type", string(revocation.FormBinary))
	if err := revocation.EncodeAnswer(w, revocation.FormBinary, &a); err != nil {
		l.t.Error(err)
	}
}

func (l *life) json(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		l.t.Error(err)
	}
}

// revoke records its own event batch and publishes it.
func (l *life) revoke(sid string) {
	l.record(revocation.Event{
		Kind: revocation.KindSID, Value: sid, At: time.Now().Unix(), ExpiresAt: time.Now().Unix() + 900, Reason: "logoff",
	})
}

func (l *life) record(e revocation.Event) { l.recordAcked(e, false) }

func (l *life) recordAcked(e revocation.Event, ack bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	l.recorded = append(l.recorded, e)
	l.send(revocation.BatchType, revocation.Batch{
		V: 1, Store: l.store, Origin: l.origin, Seq: uint64(l.seq), At: e.At, Events: []revocation.Event{e}, Ack: ack,
	})
}

func (l *life) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.send(revocation.HeartbeatType, revocation.Heartbeat{
		V: 1, Store: l.store, Origin: l.origin, Head: uint64(l.seq), Up: time.Since(l.began).Milliseconds(),
		AtMS: l.clockMS(), JWKS: l.etag(l.tokenKeys),
	})
}

// send is called with mu held.
func (l *life) send(typ string, payload any) {
	if l.feedDown {
		return
	}
	raw, err := revocation.SignMessage(keyNamed(l.feedKID), l.feedKID, typ, payload)
	if err != nil {
		l.t.Error(err)
	}
	for _, sink := range l.sinks {
		sink.Message(bytes.Clone(raw))
	}
}

// restart begins another life of the broker on the same store.
func (l *life) restart(origin string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.origin, l.began, l.seq = origin, time.Now(), 0
	l.heads[origin] = len(l.recorded)
}

// restore begins a life on another store, as a backup that was restored.
func (l *life) restore(store, origin string) {
	l.mu.Lock()
	l.store, l.recorded, l.heads = store, nil, map[string]int{}
	l.tokenKeys, l.feedKID = []string{store + "-key"}, store+"-feed"
	l.mu.Unlock()
	l.restart(origin)
}

// beatFor sends a heartbeat each second.
func (l *life) beatFor(d time.Duration) {
	for range d / time.Second {
		l.beat()
		time.Sleep(time.Second)
	}
}

func (l *life) asked(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests[path]
}

// askedAfter is the position of the last catch-up.
func (l *life) askedAfter() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.after[len(l.after)-1]
}

func (l *life) logged(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.log.String(), text)
}

func mustStart(t *testing.T, s *syncer) {
	t.Helper()
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func sid(s *syncer, value string) bool {
	return s.denylist().Revoked(revocation.Subject{SID: value})
}

func isFresh(s *syncer) bool { return s.now.Load().fresh(monotonic(), defaultMaxStaleness) }

// lockedLog is a log that a test reads while the syncer writes.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
