package validator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
)

func TestSyncStartsWithAllLiveEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		l.revoke("before")
		l.set(func() { l.kids = []string{"dead"} })
		mustStart(t, s)
		v := s.now.Load()
		if !sid(s, "before") || !s.denylist().KidRevoked("dead") || !isFresh(s) {
			t.Error("started without what is revoked")
		}
		if v.maxLifetime != 900*time.Second || v.version != s.denylist().Version() {
			t.Errorf("view %+v", v)
		}
		if key, err := s.key(t.Context(), "k1"); err != nil || key.alg != "EdDSA" {
			t.Errorf("key %v, %v", key, err)
		}
	})
}

func TestSyncMissesNothingWhileItStarts(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		hang := make(chan struct{})
		l.set(func() { l.hang = hang })
		started := make(chan error, 1)
		go func() { started <- s.start(context.Background()) }()
		synctest.Wait()
		l.revoke("meanwhile") // after the answer's view, before the answer
		synctest.Wait()
		select {
		case <-started:
			t.Fatal("started without an answer")
		default:
		}
		close(hang)
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		if !sid(s, "meanwhile") {
			t.Error("lost what came between view and answer")
		}
	})
}

func TestSyncAppliesTheFeed(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		before := s.now.Load().version
		l.revoke("one")
		synctest.Wait()
		if !sid(s, "one") || s.now.Load().version == before {
			t.Error("not applied")
		}
		l.beatFor(2 * time.Minute)
		if n := l.asked("/revocations"); n != 1 || !isFresh(s) {
			t.Errorf("%d catch-ups, fresh %v: heartbeats suffice", n, isFresh(s))
		}
		if lag := monotonic() - s.now.Load().asOf; lag > 1100*time.Millisecond {
			t.Errorf("as_of lags by %v", lag)
		}
		if d := s.now.Load().brokerMS(monotonic()) - time.Now().UnixMilli(); d < -5 || d > 5 {
			t.Errorf("the broker's clock is off by %d ms", d)
		}
	})
}

func TestSyncFillsAGap(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(time.Second)
		l.set(func() { l.feedDown = true })
		l.revoke("lost")
		l.set(func() { l.feedDown = false })
		l.beat()
		time.Sleep(300 * time.Millisecond)
		if !sid(s, "lost") {
			t.Error("a lost batch is not healed in 300 ms")
		}
		if got := l.askedAfter(); got != "o1.0" {
			t.Errorf("asked after %q", got)
		}
	})
}

func TestSyncFollowsARestartedBroker(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(time.Second)
		l.set(func() { l.feedDown = true })
		l.revoke("last words")
		l.restart("o2")
		l.set(func() { l.feedDown = false })
		l.revoke("first words")
		synctest.Wait()
		if !sid(s, "last words") || !sid(s, "first words") {
			t.Error("a new life was heard and nothing asked")
		}
		l.beatFor(40 * time.Second)
		if !isFresh(s) {
			t.Error("the old life's silence makes stale")
		}
	})
}

func TestSyncFetchesUnknownFeedKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(5 * time.Second)
		l.set(func() { l.feedKID = "f2" })
		l.revoke("under a new key")
		synctest.Wait()
		if !sid(s, "under a new key") {
			t.Error("held and lost")
		}
		time.Sleep(time.Second)
		if got := l.askedAfter(); got != "" {
			t.Errorf("a key left: asked after %q instead of for everything", got)
		}
	})
}

func TestSyncRelearnsAllAfterACompromisedFeedKey(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(5 * time.Second)
		l.set(func() { l.kids, l.feedKID = []string{"f1"}, "f2" })
		l.set(func() {
			for _, sink := range l.sinks {
				sink.Gap(nil)
			}
		})
		time.Sleep(time.Second) // the answer names the key; nothing was signed by the next one yet
		l.beat()
		time.Sleep(time.Second)
		s.close() // the keys are its owner's
		if _, ok := s.feedKeys.set["f1"]; ok {
			t.Error("the compromised key is kept")
		}
		if got := l.askedAfter(); got != "" {
			t.Errorf("asked after %q instead of for everything", got)
		}
	})
}

func TestSyncForgedMessagesChangeNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(time.Second)
		events := []revocation.Event{{Kind: "sid", Value: "victim", ExpiresAt: 1 << 40}}
		batch := revocation.Batch{V: 1, Store: "S", Origin: "o1", Seq: 900, Events: events}
		asked := l.asked("/revocations")
		for _, kid := range []string{"f1", "f9"} {
			raw, err := revocation.SignMessage(keyNamed("mallory"), kid, revocation.BatchType, batch)
			if err != nil {
				t.Fatal(err)
			}
			for range 200 {
				s.Message(raw)
			}
		}
		time.Sleep(time.Second)
		if sid(s, "victim") || l.asked("/revocations") != asked {
			t.Error("a forged message had an effect")
		}
		if n := l.asked("/revocations/jwks.json"); n > 3 {
			t.Errorf("200 messages under an unknown key made %d fetches", n)
		}
	})
}

func TestSyncPollsWithoutTheFeed(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { l.feedDown = true })
		time.Sleep(20 * time.Second)
		l.revoke("unheard")
		time.Sleep(3500 * time.Millisecond)
		if !sid(s, "unheard") {
			t.Error("not learned by polling")
		}
		time.Sleep(5 * time.Minute)
		if !isFresh(s) {
			t.Error("stale without the feed")
		}
		if n := l.asked("/revocations"); n > 115 {
			t.Errorf("%d polls in 5 minutes", n)
		}
	})
}

func TestSyncStaysFreshByHeartbeatsWithoutHTTP(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { l.httpDown = true })
		l.beatFor(20 * time.Minute)
		l.revoke("heard")
		synctest.Wait()
		if !isFresh(s) || !sid(s, "heard") {
			t.Error("stale without HTTP")
		}
		if _, err := s.key(t.Context(), "k1"); err != nil {
			t.Errorf("the known key is gone: %v", err)
		}
		if _, err := s.key(t.Context(), "k7"); !errors.Is(err, errKeysUnavailable) {
			t.Errorf("a key that cannot be asked for: %v", err)
		}
	})
}

func TestSyncGoesStaleAndHeals(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { l.feedDown, l.httpDown = true, true })
		time.Sleep(29 * time.Second)
		if !isFresh(s) {
			t.Fatal("stale too early")
		}
		l.revoke("unheard")
		time.Sleep(1100 * time.Millisecond)
		if isFresh(s) {
			t.Fatal("fresh without proof")
		}
		time.Sleep(10 * time.Minute)
		if n := l.asked("/revocations"); n > 130 {
			t.Errorf("%d requests to a broker that is away", n)
		}
		l.set(func() { l.httpDown = false })
		time.Sleep(11 * time.Second)
		if !isFresh(s) || !sid(s, "unheard") {
			t.Error("not healed")
		}
		for _, line := range []string{"not known to be current", "revocations are current"} {
			if !l.logged(line) {
				t.Errorf("no line says %q", line)
			}
		}
		if l.logged("error=<nil>") {
			t.Error("a line names no cause")
		}
	})
}

func TestSyncTrustsNoClockThatWasStepped(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { l.httpDown, l.wallStep = true, -time.Hour })
		time.Sleep(150 * time.Millisecond)
		l.beat()
		synctest.Wait()
		if isFresh(s) {
			t.Fatal("fresh after a clock step without a catch-up")
		}
		if !l.logged("nothing is proved until the next catch-up") || l.logged("error=<nil>") {
			t.Error("no line says why")
		}
		l.set(func() { l.httpDown = false })
		time.Sleep(time.Second)
		if !isFresh(s) {
			t.Error("not healed by the catch-up")
		}
	})
}

// TestSyncOnABusyMachineSeesNoClockStep: the thread that reads the two clocks is stopped in
// between for longer than a step that counts.
func TestSyncOnABusyMachineSeesNoClockStep(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { l.stopped = 400 * time.Millisecond })
		for range 20 {
			l.beat()
			time.Sleep(time.Second)
			if !isFresh(s) {
				t.Fatal("stale, although no clock was stepped")
			}
		}
		if l.logged("ms apart") {
			t.Error("a clock step was seen where there was none")
		}
	})
}

func TestSyncCancelsASilentCatchUp(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { l.hang = make(chan struct{}) })
		time.Sleep(8 * time.Second) // it lags after 3 s and cancels the request 4 s later
		l.set(func() { l.hang = nil })
		l.revoke("later")
		time.Sleep(time.Second)
		if !isFresh(s) || !l.logged(errSilent.Error()) {
			t.Error("hangs on a silent answer")
		}
	})
}

func TestSyncFollowsToAnotherStore(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		l.record(revocation.Event{Kind: "sub", Value: "ada", Epoch: 50, ExpiresAt: time.Now().Unix() + 900, Reason: "revoked"})
		mustStart(t, s)
		ada := revocation.Subject{Sub: "ada", SEP: 7}
		if !s.denylist().Revoked(ada) {
			t.Fatal("not revoked")
		}
		time.Sleep(time.Second)
		l.restore("T", "o2")
		l.beat()
		time.Sleep(4 * time.Second)
		if s.denylist().Revoked(ada) {
			t.Error("an epoch of the old store counts in the new")
		}
		if _, err := s.key(t.Context(), "T-key"); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if _, err := s.key(t.Context(), "k1"); !errors.Is(err, errUnknownKey) {
			t.Errorf("the old store's key: %v", err)
		}
		l.revoke("in the new store")
		synctest.Wait()
		if !sid(s, "in the new store") || !isFresh(s) {
			t.Error("does not live on the new store's feed")
		}
	})
}

func TestSyncNeverBlocksTheFeed(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *life, s *syncer) {
		raw := []byte("x") // nothing is taken out: the syncer is not started
		for range inboxSize + 10 {
			s.Message(raw)
		}
		if cause := <-s.gaps; !errors.Is(cause, errInboxFull) {
			t.Errorf("gap because of %v", cause)
		}
		s.Message(make([]byte, inboxBytes+1))
		if cause := <-s.gaps; !errors.Is(cause, errInboxFull) {
			t.Errorf("gap because of %v", cause)
		}
	})
}
