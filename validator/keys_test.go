package validator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/revocation"
)

func TestUnknownKeyIDIsFetchedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(time.Second)
		before := l.asked("/keys")
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				if _, err := s.key(t.Context(), fmt.Sprint("unknown", i)); !errors.Is(err, errUnknownKey) {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
		if n := l.asked("/keys") - before; n != 1 {
			t.Errorf("%d fetches for 50 unknown keys", n)
		}
		l.set(func() { l.tokenKeys = append(l.tokenKeys, "k2") })
		if _, err := s.key(t.Context(), "k2"); !errors.Is(err, errUnknownKey) {
			t.Errorf("asked again within 10 s: %v", err)
		}
		time.Sleep(10 * time.Second)
		if _, err := s.key(t.Context(), "k2"); err != nil {
			t.Errorf("not asked again after 10 s: %v", err)
		}
	})
}

// 100,000 tokens under as many key ids in 100 s: one fetch in each 10 s, and nothing of them is kept.
func TestKeysOutliveAFloodOfUnknownKeyIDs(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		before, kept := l.asked("/keys"), len(s.tokens.set.Load().keys)
		const ids, seconds = 100_000, 100
		for i := range ids {
			if _, err := s.key(t.Context(), fmt.Sprint("unknown", i)); !errors.Is(err, errUnknownKey) {
				t.Fatalf("got %v", err)
			}
			if i%(ids/seconds) == 0 {
				time.Sleep(time.Second)
				if _, err := s.key(t.Context(), "k1"); err != nil {
					t.Fatalf("the good key: %v", err)
				}
			}
		}
		if n := l.asked("/keys") - before; n < 9 || n > 11 {
			t.Errorf("%d fetches in %d s", n, seconds)
		}
		if n := len(s.tokens.set.Load().keys); n != kept {
			t.Errorf("%d keys are kept, %d were", n, kept)
		}
	})
}

func TestKeysAreFetchedWhenAHeartbeatNamesAnotherETag(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		version := s.now.Load().version
		l.set(func() { l.tokenKeys = []string{"k2"} })
		l.beatFor(4 * time.Second)
		if _, err := s.key(t.Context(), "k2"); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if _, ok := s.tokens.set.Load().keys["k1"]; ok {
			t.Error("a key that left is kept")
		}
		if s.now.Load().version == version {
			t.Error("other keys, and the version stands still")
		}
	})
}

func TestKeysAreFetchedOnASchedule(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { l.tokenKeys = []string{"k1", "k2"}; l.feedDown = true })
		time.Sleep(6 * time.Minute)
		if _, ok := s.tokens.set.Load().keys["k2"]; !ok {
			t.Error("not fetched")
		}
	})
}

func TestCompromisedKeysNeverReturn(t *testing.T) {
	for name, compromise := range map[string]func(l *life){
		"by an event": func(l *life) {
			l.record(revocation.Event{Kind: "kid", Value: "k1", ExpiresAt: time.Now().Unix() + 60, Reason: "key_compromise"})
		},
		"by an answer": func(l *life) {
			l.set(func() {
				l.kids = []string{"k1"}
				for _, sink := range l.sinks {
					sink.Gap(nil)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *life, s *syncer) {
				mustStart(t, s)
				l.set(func() { l.tokenKeys = []string{"k1", "k2"} }) // the document still has it
				time.Sleep(time.Second)
				compromise(l)
				time.Sleep(time.Second)
				if _, err := s.key(t.Context(), "k1"); !errors.Is(err, errUnknownKey) {
					t.Errorf("at once: %v", err)
				}
				time.Sleep(time.Hour)
				if _, err := s.key(t.Context(), "k2"); err != nil {
					t.Errorf("the other key: %v", err)
				}
				if _, err := s.key(t.Context(), "k1"); !errors.Is(err, errUnknownKey) {
					t.Errorf("an hour later: %v", err)
				}
				if !s.denylist().Revoked(revocation.Subject{KID: "k1"}) {
					t.Error("collected")
				}
			})
		})
	}
}

func TestParseTokenKeys(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk := func(key any, kid, alg, use string) string {
		b, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: alg, Use: use})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good := jwk(keyNamed("x").Public(), "good", "EdDSA", "sig")
	set := func(keys ...string) string { return `{"store":"S","keys":[` + strings.Join(keys, ",") + `]}` }
	tests := map[string]struct {
		body string
		want int // keys; -1: refused
	}{
		"two kinds":              {set(good, jwk(p256.Public(), "es", "ES256", "sig")), 2},
		"an unknown curve":       {set(good, `{"kty":"EC","crv":"P-999","kid":"x","x":"AA","y":"AA"}`), 1},
		"another algorithm":      {set(good, jwk(p384.Public(), "x", "ES384", "sig")), 1},
		"a key that lies":        {set(good, jwk(p384.Public(), "x", "ES256", "sig")), 1},
		"no algorithm":           {set(good, jwk(p256.Public(), "x", "", "sig")), 1},
		"for encryption":         {set(good, jwk(p256.Public(), "x", "ES256", "enc")), 1},
		"no key id":              {set(good, jwk(p256.Public(), "", "ES256", "sig")), 1},
		"a private key":          {set(good, jwk(p256, "x", "ES256", "sig")), 1},
		"a symmetric key":        {set(good, `{"kty":"oct","kid":"x","alg":"HS256","k":"AAAA"}`), 1},
		"one key id twice":       {set(good, jwk(p256.Public(), "good", "ES256", "sig")), -1},
		"nothing of use":         {set(), -1},
		"no store":               {`{"keys":[` + good + `]}`, -1},
		"two stores":             {`{"store":"S","store":"T","keys":[` + good + `]}`, -1},
		"not JSON":               {`<html>`, -1},
		"more keys than we take": {set(append(strings.Fields(strings.Repeat("{} ", maxKeys)), good)...), -1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, keys, err := parseTokenKeys([]byte(tt.body))
			if tt.want < 0 {
				if err == nil {
					t.Errorf("took %v", keys)
				}
				return
			}
			if err != nil || len(keys) != tt.want {
				t.Errorf("%d keys, %v; want %d", len(keys), err, tt.want)
			}
		})
	}
}
