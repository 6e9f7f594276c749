package validator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
)

func TestAServicesStreamsEndByFeedAndCatchUp(t *testing.T) {
	for name, revoke := range map[string]func(*life){
		"a batch":                  func(l *life) { l.revoke("mine") },
		"an epoch":                 func(l *life) { l.record(revocation.Event{Kind: revocation.KindSub, Value: "ada", Epoch: 2}) },
		"a catch-up names the key": func(l *life) { l.set(func() { l.kids = []string{"k1"} }) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *life, s *syncer) {
				mustStart(t, s)
				v := newValidator(fakeIssuer, []string{"test"}, 100, s)
				defer v.Close()
				claims := Claims{ID: "t", SessionID: "mine", Subject: "ada", KeyID: "k1", SEP: 1, ExpiresAt: time.Now().Add(time.Minute)}
				hit, cancel := v.Bind(t.Context(), &claims)
				defer cancel()
				claims2 := claims
				claims2.SessionID, claims2.Subject, claims2.KeyID = "other", "bob", "k2"
				other, cancelOther := v.Bind(t.Context(), &claims2)
				defer cancelOther()
				revoke(l)
				time.Sleep(4 * time.Second) // without heartbeats a catch-up comes after 3 s
				if !errors.Is(context.Cause(hit), ErrRevoked) || other.Err() != nil {
					t.Fatalf("%v, %v", context.Cause(hit), other.Err())
				}
				l.set(func() { l.httpDown, l.feedDown = true, true }) // stale soon, which ends nothing
				time.Sleep(50 * time.Second)
				if isFresh(s) || other.Err() != nil {
					t.Error("being stale ended a stream")
				}
				time.Sleep(7 * time.Second)
				synctest.Wait()
				if !errors.Is(context.Cause(other), ErrExpired) {
					t.Errorf("without news a stream outlives its token: %v", context.Cause(other))
				}
			})
		})
	}
}
