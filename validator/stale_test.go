package validator

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenbroker/revocation"
)

// fakeSource is a source whose view and keys the test sets.
type fakeSource struct {
	now     view
	public  crypto.PublicKey
	keyErr  error
	onKey   func()
	revoked *revocation.Denylist
}

func (f *fakeSource) key(_ context.Context, kid string) (verificationKey, error) {
	if f.onKey != nil {
		f.onKey()
	}
	return verificationKey{kid: kid, alg: "EdDSA", public: f.public}, f.keyErr
}
func (f *fakeSource) view() *view                    { v := f.now; return &v }
func (f *fakeSource) denylist() *revocation.Denylist { return f.revoked }

// aged returns a view of that age, made when the broker's clock was at atMS.
func aged(age time.Duration, atMS int64) view {
	return view{asOf: monotonic() - age, atMS: atMS, maxLifetime: time.Hour}
}

const brokerNow = 1_700_000_000 // far from this machine's clock, which must not matter

func newFake(tb testing.TB) (*Validator, *fakeSource, func(iat, exp int64) string) {
	tb.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	s := &fakeSource{public: public, revoked: revocation.NewDenylist(), now: aged(0, brokerNow*1000)}
	v := newValidator("https://issuer", []string{"test"}, 100, newViewBackend(s, 30*time.Second))
	n := 0
	return v, s, func(iat, exp int64) string {
		n++
		enc := base64.RawURLEncoding.EncodeToString
		signed := enc([]byte(`{"alg":"EdDSA","kid":"k","typ":"at+jwt"}`)) + "." + enc(fmt.Appendf(nil,
			`{"iss":"https://issuer","sub":"s","aud":"test","client_id":"c","jti":"%d","iat":%d,"exp":%d,"sep":1,"cep":1}`, n, iat, exp))
		return signed + "." + enc(ed25519.Sign(private, []byte(signed)))
	}
}

func TestStaleValidatorJudgesNoToken(t *testing.T) {
	for name, make := range map[string]func(*fakeSource){
		"31 s old":     func(s *fakeSource) { s.now = aged(31*time.Second, brokerNow*1000) },
		"unproved":     func(s *fakeSource) { s.now.unproved = true },
		"keys unknown": func(s *fakeSource) { s.keyErr = errKeysUnavailable; s.revoked.BumpVersion() },
		"key took long": func(s *fakeSource) {
			s.onKey = func() { s.now = aged(time.Minute, brokerNow*1000) }
			s.revoked.BumpVersion()
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, s, mint := newFake(t)
			seen, expired, unseen := mint(brokerNow, brokerNow+300), mint(brokerNow-300, brokerNow-1), mint(brokerNow, brokerNow+300)
			if _, err := v.Validate(t.Context(), seen); err != nil {
				t.Fatal(err)
			}
			make(s)
			for shown, token := range map[string]string{"seen": seen, "expired": expired, "unseen": unseen} {
				if _, err := v.Validate(t.Context(), token); !errors.Is(err, ErrStale) {
					t.Errorf("%s: got %v", shown, err)
				}
			}
			if _, err := v.Validate(t.Context(), "no token"); !errors.Is(err, ErrInvalid) {
				t.Errorf("a text that is not a token: %v", err)
			}
			if got := v.Stats(); got.Stale != 3 {
				t.Errorf("stats: %+v", got)
			}
			s.now, s.onKey, s.keyErr = aged(29*time.Second, brokerNow*1000-29_000), nil, nil
			if _, err := v.Validate(t.Context(), seen); err != nil {
				t.Errorf("fresh again: %v", err)
			}
		})
	}
}

// P2: the broker's clock counts, put forward by what the monotonic clock has run since.
func TestTokensAreJudgedByTheBrokersClock(t *testing.T) {
	v, s, mint := newFake(t)
	token := mint(brokerNow, brokerNow+300)
	for _, row := range []struct {
		atSeconds int64
		age       time.Duration
		want      error
	}{
		{brokerNow - 61, 0, ErrInvalid}, // issued 61 s ahead
		{brokerNow - 59, 0, nil},
		{brokerNow + 298, 0, nil},
		{brokerNow + 280, 19 * time.Second, nil},
		{brokerNow + 280, 20 * time.Second, ErrExpired},
		{brokerNow + 300, 0, ErrExpired},
		{brokerNow + 298, 0, nil}, // the broker's clock never runs back; if it did, nothing is stored
	} {
		s.now = aged(row.age, row.atSeconds*1000)
		if _, err := v.Validate(t.Context(), token); !errors.Is(err, row.want) {
			t.Errorf("broker at %+d s, known %v ago: got %v, want %v", row.atSeconds-brokerNow, row.age, err, row.want)
		}
	}
}

// A revocation that arrives between the look-ups and the storing of the verdict must not
// be hidden by the stored verdict.
func TestVerdictIsStoredWithTheVersionBeforeTheLookUps(t *testing.T) {
	v, s, mint := newFake(t)
	token := mint(brokerNow, brokerNow+300)
	s.onKey = func() { s.revoked.BumpVersion() }
	for range 3 { // first sight, and again
		if _, err := v.Validate(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if e := v.cache.find(token); e == nil || e.version.Load() == s.revoked.Version() {
			t.Fatal("the verdict claims to know of what came during its look-ups")
		}
	}
	s.onKey = func() {
		s.revoked.Apply(revocation.Event{Kind: revocation.KindSub, Value: "s", Epoch: 2, ExpiresAt: brokerNow + 600, At: brokerNow})
	}
	if _, err := v.Validate(t.Context(), token); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked during the look-ups: %v", err)
	}
}

func TestCancelledCallerGetsItsContextsError(t *testing.T) {
	v, s, mint := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.onKey = cancel
	s.keyErr = context.Canceled
	_, err := v.Validate(ctx, mint(brokerNow, brokerNow+300))
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
}
