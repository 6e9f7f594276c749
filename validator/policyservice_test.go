package validator_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
)

// log is a log that a test reads while a validator writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// cutOff leaves a service that has no news, but reaches the broker in every other way.
func cutOff(issuer *validatortest.Issuer) {
	issuer.SetFeedDown(true)
	issuer.SetCatchUpDown(true)
}

func TestAServiceThatIsCutOffFollowsItsPolicy(t *testing.T) {
	for policy, row := range map[validator.Policy]struct{ good, revoked error }{
		"":                           {validator.ErrStale, validator.ErrStale},
		validator.FailClosed:         {validator.ErrStale, validator.ErrStale},
		validator.Introspect:         {nil, validator.ErrRevoked},
		validator.InsecureServeStale: {nil, nil},
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			lines := &log{}
			v, issuer := start(t, func(c *validator.Config) {
				c.OnStale, c.MaxStaleness = policy, 500*time.Millisecond
				c.Logger = slog.New(slog.NewTextHandler(lines, nil))
			})
			good, revoked := issuer.Mint(nil), issuer.Mint(validatortest.Claims{"sid": "lost"})
			cutOff(issuer)
			issuer.RevokeSession("lost") // no service receives it
			for deadline := time.Now().Add(time.Minute); v.Stats().Fresh || lines.count("not known to be current") == 0; {
				if time.Now().After(deadline) {
					t.Fatal("never stale")
				}
				<-time.After(5 * time.Millisecond)
			}
			for shown, want := range map[string]error{good: row.good, revoked: row.revoked} {
				for range 2 {
					if _, err := v.Validate(t.Context(), shown); !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
				}
			}
			if n := issuer.Introspections(); (n > 0) != (policy == validator.Introspect) || uint64(n) != v.Stats().Introspections {
				t.Errorf("%d introspections, counted %d", n, v.Stats().Introspections)
			}
			issuer.SetIntrospectionDown(true)
			if _, err := v.Validate(t.Context(), issuer.Mint(nil)); policy != validator.InsecureServeStale && !errors.Is(err, validator.ErrStale) {
				t.Errorf("the broker does not answer: %v", err)
			}
			if n := lines.count("not known to be current"); n != 1 {
				t.Errorf("%d lines report that it is stale", n)
			}
			issuer.SetCatchUpDown(false)
			issuer.SetFeedDown(false)
			validatortest.Await(t, v, revoked, validator.ErrRevoked)
		})
	}
}

// The denylist is too small for what is revoked: no revoked token passes, no good one is
// refused while the broker answers.
func TestEvictionsUnrevokeNothing(t *testing.T) {
	lines := &log{}
	v, issuer := start(t, func(c *validator.Config) {
		c.DenylistSize = 8
		c.Logger = slog.New(slog.NewTextHandler(lines, nil))
	})
	var tokens []string
	for n := range 40 {
		tokens = append(tokens, issuer.Mint(validatortest.Claims{"sid": fmt.Sprint("s", n)}))
		if _, err := v.Validate(t.Context(), tokens[n]); err != nil {
			t.Fatal(err)
		}
	}
	for n := range tokens {
		issuer.RevokeSession(fmt.Sprint("s", n))
	}
	subject := issuer.Mint(validatortest.Claims{"sub": "ada"})
	issuer.Revoke(revocation.Event{Kind: revocation.KindSub, Value: "ada", Epoch: 2})
	validatortest.Await(t, v, subject, validator.ErrRevoked)
	// The broker may have said so before the batch came, which is behind all the others.
	for deadline := time.Now().Add(time.Minute); v.Stats().Denylist != 9; {
		if time.Now().After(deadline) {
			t.Fatalf("stats: %+v", v.Stats())
		}
		<-time.After(2 * time.Millisecond)
	}
	before := issuer.Introspections()
	for n, token := range tokens {
		if _, err := v.Validate(t.Context(), token); !errors.Is(err, validator.ErrRevoked) {
			t.Errorf("session %d: %v", n, err)
		}
	}
	if n := issuer.Introspections() - before; n != 32 {
		t.Errorf("%d introspections for 32 evicted", n)
	}
	good := issuer.Mint(nil)
	for range 64 {
		if _, err := v.Validate(t.Context(), good); err != nil {
			t.Fatal(err)
		}
	}
	got := v.Stats()
	if !got.Fresh || got.Evictions != 32 || got.Denylist != 9 || got.IncompleteUntil < time.Now().Unix() {
		t.Errorf("stats: %+v", got)
	}
	if n := lines.count("more is revoked than DenylistSize holds"); n != 1 {
		t.Errorf("%d lines report evictions", n)
	}
	issuer.SetIntrospectionDown(true)
	if _, err := v.Validate(t.Context(), issuer.Mint(nil)); !errors.Is(err, validator.ErrStale) {
		t.Errorf("the broker does not answer: %v", err)
	}
	if _, err := v.Validate(t.Context(), subject); !errors.Is(err, validator.ErrRevoked) {
		t.Errorf("what is in memory needs no answer: %v", err)
	}
}

func TestServiceRouteWithItsOwnBound(t *testing.T) {
	v, issuer := start(t, nil)
	token := issuer.Mint(nil)
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux := http.NewServeMux()
	mux.Handle("/list", httpauth.Require(v)(hello))
	mux.Handle("/pay", httpauth.Require(v, httpauth.MaxStaleness(500*time.Millisecond))(hello))
	get := func(path string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Result()
	}
	await := func(path string, status int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); get(path).StatusCode != status; <-time.After(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s never answers %d", path, status)
			}
		}
	}
	cutOff(issuer)
	await("/pay", http.StatusServiceUnavailable)
	if res := get("/pay"); res.Header.Get("Retry-After") == "" || res.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("headers: %v", res.Header)
	}
	if res := get("/list"); res.StatusCode != http.StatusNoContent {
		t.Errorf("/list answers %s", res.Status)
	}
	issuer.SetCatchUpDown(false)
	issuer.SetFeedDown(false)
	await("/pay", http.StatusNoContent)
}
