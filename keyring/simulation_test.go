package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// link is a broker's connection to the store, which can be cut.
type link struct {
	*outageStore
	cut atomic.Bool
}

func (l *link) isDown() bool { return l.cut.Load() || l.outageStore.isDown() }

func (l *link) Load(ctx context.Context) ([]byte, uint64, error) {
	if l.cut.Load() {
		return nil, 0, errDown
	}
	return l.outageStore.Load(ctx)
}

func (l *link) CompareAndSwap(ctx context.Context, data []byte, rev uint64) error {
	if l.cut.Load() {
		return errDown
	}
	return l.outageStore.CompareAndSwap(ctx, data, rev)
}

// world is two brokers on one store and services that cache the JWK set for its full life,
// in the time of a synctest bubble. The wall clock, which all brokers share, can be stepped.
type world struct {
	t        *testing.T
	shared   bool // Config.Shared; only then is a link cut
	store    *outageStore
	links    [2]*link
	since    [2]time.Time // when each link, with the store, last changed between up and down
	mu       sync.Mutex   // guards offset and lastExpiry, which brokers read
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

func newWorld(t *testing.T, shared bool) *world {
	w := &world{
		t: t, shared: shared, store: &outageStore{}, up: time.Now(),
		exempt: map[string]time.Time{}, dead: map[string]time.Time{}, seen: map[string]bool{},
	}
	for i := range w.brokers {
		w.links[i], w.since[i] = &link{outageStore: w.store}, time.Now()
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
	cfg := config(w.t, w.links[i])
	cfg.Shared = w.shared
	cfg.Now, cfg.TokenLife, cfg.RotateEvery, cfg.LastExpiry = w.now, tokenLife, every, w.lastExpiry
	ring, err := keyring.Open(w.t.Context(), cfg)
	if err != nil {
		if !w.links[i].isDown() {
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
	for i, b := range w.brokers {
		if b == nil {
			continue
		}
		token, err := b.ring.SignAccessToken(w.t.Context(), []byte(`{}`))
		w.checkOutdated(i, b.ring, err)
		if errors.Is(err, keyring.ErrOutdated) {
			continue
		}
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

// checkOutdated checks that a broker signs and publishes nothing a margin after it lost the store, and
// that it does both when it has had the time for a read.
func (w *world) checkOutdated(broker int, ring *keyring.Keyring, signed error) {
	for what, stopped := range map[string]bool{
		"sign": errors.Is(signed, keyring.ErrOutdated), "publish": len(ring.JWKS().Body) == 0,
	} {
		switch down, d := w.links[broker].isDown(), time.Since(w.since[broker]); {
		case stopped && !w.shared:
			w.failf("broker %d does not %s", broker, what)
		case stopped && !down && d > margin/3:
			w.failf("broker %d does not %s %s after the store is back", broker, what, d)
		case !stopped && w.shared && down && d >= margin:
			w.failf("broker %d continues to %s %s after it lost the store", broker, what, d)
		}
	}
}

// transit is how long the JWK set of a shared store takes from the broker to the service.
const transit = margin / 3

// fetch is a service's request. If every broker is down or outdated, the service keeps its copy, and cannot
// learn of the successor of a compromised key.
func (w *world) fetch(s *service) {
	for i := range w.brokers {
		b := w.brokers[(i+int(time.Now().Unix()))%len(w.brokers)]
		if b == nil || len(b.ring.JWKS().Body) == 0 {
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
		if s.next = time.Now().Add(b.ring.JWKS().MaxAge); w.shared {
			s.next = s.next.Add(transit)
		}
		return
	}
	s.next = time.Now().Add(10 * time.Second)
	for kid, until := range w.exempt {
		if w.shared && time.Now().Before(until) {
			w.exempt[kid] = time.Now().Add(readyAfter)
		}
	}
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
	if w.shared {
		w.checkSecrets()
	}
}

// checkSecrets checks that a broker that is not outdated accepts what another broker makes under its current
// master secret, and that each accepts what an outdated broker makes.
func (w *world) checkSecrets() {
	for i, a := range w.brokers {
		for j, b := range w.brokers {
			if a == nil || b == nil || b.ring.Outdated() != nil {
				continue
			}
			current := a.ring.Keys("test")[0]
			if !slices.ContainsFunc(b.ring.Keys("test"), func(k []byte) bool { return bytes.Equal(k, current) }) {
				w.failf("broker %d does not accept the current master secret of broker %d", j, i)
			}
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
		if w.links[broker].isDown() || time.Since(since) < 11*time.Second || time.Since(w.up) < 11*time.Second {
			continue
		}
		_, _, verifies := ring.Verifier(kid)
		if verifies || strings.Contains(string(ring.JWKS().Body)+string(ring.FeedJWKS().Body), kid) {
			w.failf("broker %d accepts or publishes the compromised key %s", broker, kid)
		}
	}
}
