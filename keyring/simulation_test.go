package keyring_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/keyring"
)

var errDown = errors.New("the store is down")

// outageStore is a memStore that can be unavailable.
type outageStore struct {
	memStore
	downMu sync.Mutex // guards down
	down   bool
}

func (o *outageStore) set(down bool) {
	o.downMu.Lock()
	defer o.downMu.Unlock()
	o.down = down
}

func (o *outageStore) isDown() bool {
	o.downMu.Lock()
	defer o.downMu.Unlock()
	return o.down
}

func (o *outageStore) Load(ctx context.Context) ([]byte, uint64, error) {
	if o.isDown() {
		return nil, 0, errDown
	}
	return o.memStore.Load(ctx)
}

func (o *outageStore) CompareAndSwap(ctx context.Context, data []byte, rev uint64) error {
	if o.isDown() {
		return errDown
	}
	return o.memStore.CompareAndSwap(ctx, data, rev)
}

// world is two brokers on one store and services that cache the JWK set for its full life,
// in the time of a synctest bubble. The wall clock, which all brokers share, can be stepped.
type world struct {
	t        *testing.T
	store    *outageStore
	mu       sync.Mutex // guards offset and lastExpiry, which brokers read
	offset   time.Duration
	expiry   time.Time
	brokers  [2]*process
	services []*service
	tokens   []issued
	exempt   map[string]time.Time // until when a key that signs unready may be unknown
	dead     map[string]time.Time // since when a key is compromised
	up       time.Time            // since when the store has been available
	seen     map[string]bool      // keys that were active, to check that the schedules rotate
	fault    string
}

type process struct {
	ring *keyring.Keyring
	stop func()
}

type service struct {
	kids map[string]bool
	next time.Time // when it fetches again
}

type issued struct {
	kid      string
	iat, exp time.Time // by the wall clock
	signed   time.Time // on the bubble's, which is never stepped
}

const every = time.Hour // RotateEvery

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, store: &outageStore{}, up: time.Now(),
		exempt: map[string]time.Time{}, dead: map[string]time.Time{}, seen: map[string]bool{},
	}
	for i := range w.brokers {
		w.start(i)
	}
	for i := range 5 {
		s := &service{}
		w.services = append(w.services, s)
		w.fetch(s)
		s.next = time.Now().Add(time.Duration(i+1) * keyring.DefaultJWKSMaxAge / 5)
	}
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *world) lastExpiry(context.Context) (time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.expiry, nil
}

func (w *world) start(i int) {
	cfg := config(w.t, w.store)
	cfg.Now, cfg.TokenLife, cfg.RotateEvery, cfg.LastExpiry = w.now, tokenLife, every, w.lastExpiry
	ring, err := keyring.Open(w.t.Context(), cfg)
	if err != nil {
		if !w.store.isDown() {
			w.failf("Open = %v", err)
		}
		return
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = ring.Run(ctx) }()
	w.brokers[i] = &process{ring, func() { cancel(); <-done }}
}

func (w *world) end(i int) {
	if w.brokers[i] != nil {
		w.brokers[i].stop()
		w.brokers[i] = nil
	}
}

func (w *world) failf(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf("at %s: ", time.Since(testBubble).Round(time.Millisecond)) + fmt.Sprintf(format, args...)
	}
}

// testBubble is the time at which every bubble begins.
var testBubble = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// pass advances time: services fetch when their copy has expired, each broker signs a
// token every half minute, and all invariants are checked at each step.
func (w *world) pass(d time.Duration) {
	for end := time.Now().Add(d); w.fault == "" && time.Now().Before(end); {
		wake := time.Now().Add(30 * time.Second)
		if end.Before(wake) {
			wake = end
		}
		for _, s := range w.services {
			if s.next.Before(wake) {
				wake = s.next
			}
		}
		time.Sleep(time.Until(wake))
		synctest.Wait()
		for i := range w.brokers {
			if w.brokers[i] == nil {
				w.start(i)
			}
		}
		w.sign()
		w.check()
		for _, s := range w.services {
			if !time.Now().Before(s.next) {
				w.fetch(s)
			}
		}
		w.check()
	}
}

func (w *world) sign() {
	for _, b := range w.brokers {
		if b == nil {
			continue
		}
		token, err := b.ring.SignAccessToken(w.t.Context(), []byte(`{}`))
		if err != nil {
			w.failf("signing: %v", err)
			return
		}
		header, _, _ := strings.Cut(token, ".")
		raw, _ := base64.RawURLEncoding.DecodeString(header)
		var h struct{ KID string }
		if err := json.Unmarshal(raw, &h); err != nil {
			w.failf("header: %v", err)
		}
		tok := issued{h.KID, w.now(), w.now().Add(tokenLife), time.Now()}
		w.tokens, w.seen[h.KID] = append(w.tokens, tok), true
		w.mu.Lock()
		if tok.exp.After(w.expiry) {
			w.expiry = tok.exp
		}
		w.mu.Unlock()
	}
}

// fetch is a service's request. If every broker is down, the service keeps its copy.
func (w *world) fetch(s *service) {
	for i := range w.brokers {
		b := w.brokers[(i+int(time.Now().Unix()))%len(w.brokers)]
		if b == nil {
			continue
		}
		var set struct{ Keys []struct{ KID string } }
		if err := json.Unmarshal(b.ring.JWKS().Body, &set); err != nil {
			w.failf("JWKS: %v", err)
		}
		s.kids = map[string]bool{}
		for _, k := range set.Keys {
			s.kids[k.KID] = true
		}
		s.next = time.Now().Add(b.ring.JWKS().MaxAge)
		return
	}
	s.next = time.Now().Add(10 * time.Second)
}

func (w *world) check() {
	now, live := w.now(), map[string]bool{}
	// A token is over when it has expired by the clock and a full token life has passed: a clock that
	// is stepped back does not make it valid again.
	w.tokens = slices.DeleteFunc(w.tokens, func(tok issued) bool {
		return !tok.exp.After(now) && time.Since(tok.signed) >= tokenLife
	})
	for _, tok := range w.tokens {
		if tok.exp.After(now) && !tok.iat.After(now.Add(time.Minute)) {
			live[tok.kid] = true
		}
	}
	for kid := range live {
		if _, dead := w.dead[kid]; dead || time.Now().Before(w.exempt[kid]) {
			continue
		}
		for i, s := range w.services {
			if !s.kids[kid] {
				w.failf("service %d does not know the key %s of a live token", i, kid)
			}
		}
	}
	for i, b := range w.brokers {
		if b != nil {
			w.checkBroker(i, b.ring)
		}
	}
}

func (w *world) checkBroker(broker int, ring *keyring.Keyring) {
	count := map[string]int{}
	for _, k := range ring.List() {
		count[string(k.Purpose)+" "+string(k.State)]++
	}
	for _, what := range []string{"access active", "access next", "feed active", "feed next", "master active"} {
		if count[what] != 1 {
			w.failf("broker %d has %d keys that are %s", broker, count[what], what)
		}
	}
	for kid, since := range w.dead {
		// Another broker follows within a third of the margin when the store is available.
		if w.store.isDown() || time.Since(since) < 11*time.Second || time.Since(w.up) < 11*time.Second {
			continue
		}
		_, _, verifies := ring.Verifier(kid)
		if verifies || strings.Contains(string(ring.JWKS().Body)+string(ring.FeedJWKS().Body), kid) {
			w.failf("broker %d accepts or publishes the compromised key %s", broker, kid)
		}
	}
}
