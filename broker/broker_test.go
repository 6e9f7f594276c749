package broker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/storetest"
)

func TestSignInRefreshLogOff(t *testing.T) {
	h := start(t)
	first := h.signIn(t)
	claims := claimsOf(t, first.AccessToken)
	for _, name := range strings.Fields("iss sub aud exp iat nbf jti client_id sid scope auth_time acr amr sep cep") {
		if _, ok := claims[name]; !ok {
			t.Errorf("claim %s is missing", name)
		}
	}
	h.clock.advance(time.Minute)
	second, err := h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, request)
	if err != nil {
		t.Fatal(err)
	}
	if second.RefreshToken == first.RefreshToken {
		t.Error("the refresh token did not rotate")
	}
	if second.CSRFToken != first.CSRFToken || second.SID != first.SID {
		t.Error("CSRF token and sid are stable for the session")
	}
	if a, b := claims["jti"], claimsOf(t, second.AccessToken)["jti"]; a == b {
		t.Error("two access tokens share a jti")
	}
	again, err := h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, request)
	if err != nil {
		t.Fatalf("within the grace: %v", err)
	}
	if again.RefreshToken != second.RefreshToken {
		t.Error("within the grace the current token is given again")
	}
	result, err := h.LogOff(t.Context(), first.RefreshToken, first.CSRFToken, request)
	if err != nil || !result.Ended || !result.Broadcast {
		t.Fatalf("log-off by an older generation: %+v, %v", result, err)
	}
	events := h.ledger.events()
	if len(events) != 1 || events[0].Kind != revocation.KindSID || events[0].Value != first.SID {
		t.Fatalf("events: %+v", events)
	}
	_, err = h.Refresh(t.Context(), second.RefreshToken, second.CSRFToken, request)
	wantCode(t, err, broker.CodeSessionEnded)
	if result, err = h.LogOff(t.Context(), second.RefreshToken, second.CSRFToken, request); err != nil || !result.Broadcast {
		t.Fatalf("log-off twice: %+v, %v", result, err)
	}
	if n := len(h.ledger.events()); n != 1 {
		t.Errorf("a second log-off recorded another event (%d)", n)
	}
}

func TestReuseOutsideTheGraceEndsTheSession(t *testing.T) {
	h := start(t)
	first := h.signIn(t)
	second, err := h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, request)
	if err != nil {
		t.Fatal(err)
	}
	h.clock.advance(11 * time.Second)
	_, err = h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, request)
	wantCode(t, err, broker.CodeRefreshReused)
	_, err = h.Refresh(t.Context(), second.RefreshToken, second.CSRFToken, request)
	wantCode(t, err, broker.CodeRefreshReused)
	if events := h.ledger.events(); len(events) != 1 || events[0].Reason != revocation.ReasonReuse {
		t.Errorf("events: %+v", events)
	}
	if !strings.Contains(h.log.String(), "refresh_refused") {
		t.Error("reuse left no audit line")
	}
}

func TestEachChangedCharacterOfARefreshTokenIsRefused(t *testing.T) {
	h := start(t)
	good := h.signIn(t)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range good.RefreshToken {
		for _, c := range []byte{alphabet[i%64], alphabet[(i+1)%64], '=', '.'} {
			if good.RefreshToken[i] == c {
				continue
			}
			changed := good.RefreshToken[:i] + string(c) + good.RefreshToken[i+1:]
			_, err := h.Refresh(t.Context(), changed, good.CSRFToken, request)
			wantCode(t, err, broker.CodeNoSession)
			if result, err := h.LogOff(t.Context(), changed, good.CSRFToken, request); err != nil || result.Ended {
				t.Fatalf("log-off by a changed token: %+v, %v", result, err)
			}
		}
	}
	for _, cut := range []string{"", "rt1.", good.RefreshToken[:50], good.RefreshToken + "A", "rt2." + good.RefreshToken[4:]} {
		_, err := h.Refresh(t.Context(), cut, good.CSRFToken, request)
		wantCode(t, err, broker.CodeNoSession)
	}
	if _, err := h.Refresh(t.Context(), good.RefreshToken, good.CSRFToken, request); err != nil {
		t.Fatalf("the good token after all that: %v", err)
	}
}

func TestCSRFTokenOfAnotherSessionIsRefused(t *testing.T) {
	h := start(t)
	mine, other := h.signIn(t), h.signIn(t)
	for _, csrf := range []string{"", other.CSRFToken, mine.CSRFToken + "A"} {
		_, err := h.Refresh(t.Context(), mine.RefreshToken, csrf, request)
		wantCode(t, err, broker.CodeCSRF)
		_, err = h.LogOff(t.Context(), mine.RefreshToken, csrf, request)
		wantCode(t, err, broker.CodeCSRF)
	}
	if n := len(h.ledger.events()); n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestLogOffEndsTheSessionsOfDuplicates(t *testing.T) {
	h := start(t)
	mine, planted, bystander := h.signIn(t), h.signIn(t), h.signIn(t)
	superseded := planted.RefreshToken
	if _, err := h.Refresh(t.Context(), superseded, planted.CSRFToken, request); err != nil {
		t.Fatal(err)
	}
	forged := mine.RefreshToken[:len(mine.RefreshToken)-2] + "AA"
	alive := func(g *broker.Grant) bool {
		_, err := h.Session(t.Context(), g.RefreshToken, request)
		return err == nil
	}
	for _, csrf := range []string{"", bystander.CSRFToken} {
		_, err := h.LogOff(t.Context(), superseded, csrf, request, forged, mine.RefreshToken)
		wantCode(t, err, broker.CodeCSRF)
	}
	if !alive(mine) || len(h.ledger.events()) != 0 {
		t.Fatal("a log-off with the CSRF token of no duplicate ended something")
	}
	off, err := h.LogOff(t.Context(), superseded, mine.CSRFToken, request, forged, "", mine.RefreshToken, mine.RefreshToken)
	if err != nil || !off.Ended || !off.Broadcast || off.SID != mine.SID {
		t.Errorf("%+v, %v; want the caller's own session ended and told", off, err)
	}
	if alive(mine) || alive(planted) || !alive(bystander) {
		t.Errorf("alive: mine %v, planted %v, bystander %v", alive(mine), alive(planted), alive(bystander))
	}
	if n := len(h.ledger.events()); n != 2 {
		t.Errorf("%d events, want one for each session", n)
	}
	if off, err = h.LogOff(t.Context(), forged, mine.CSRFToken, request, "", "junk"); err != nil || off.Ended {
		t.Errorf("without a good token: %+v, %v", off, err)
	}
}

func TestTokensOfThePreviousMasterSecretAreTaken(t *testing.T) {
	h := start(t, func(c *broker.Config) { c.Secrets = fakeSecrets{previous: true} })
	old := h.signIn(t)
	rotated := start(t, func(c *broker.Config) { c.Store = h.store })
	grant, err := rotated.Refresh(t.Context(), old.RefreshToken, old.CSRFToken, request)
	if err != nil {
		t.Fatal(err)
	}
	if grant.CSRFToken == old.CSRFToken {
		t.Error("the CSRF token is still made under the previous secret")
	}
}

func TestSignInRefusals(t *testing.T) {
	h := start(t)
	for name, password := range map[string]string{"ada": "wrong", "nobody": "lovelace", "": ""} {
		_, err := h.SignIn(t.Context(), name, password, request)
		wantCode(t, err, broker.CodeInvalidCredentials)
	}
	slow := start(t, func(c *broker.Config) { c.Throttle = fakeThrottle{wait: 3 * time.Second} })
	_, err := slow.SignIn(t.Context(), "ada", "lovelace", request)
	if app := wantCode(t, err, broker.CodeTooManyAttempts); app.RetryAfter != 3*time.Second {
		t.Errorf("Retry-After %s", app.RetryAfter)
	}
}

func TestLogOffTellsWhenTheBroadcastIsPending(t *testing.T) {
	h := start(t)
	h.ledger.down = true
	grant := h.signIn(t)
	result, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	if err != nil || !result.Ended || result.Broadcast {
		t.Fatalf("%+v, %v", result, err)
	}
	if again, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, request); err != nil || again.Broadcast {
		t.Errorf("a second log-off says that what is pending was sent: %+v, %v", again, err)
	}
}

func TestConflictsAreDecidedAnew(t *testing.T) {
	var conflicts *storetest.Conflicts
	h := start(t, func(c *broker.Config) {
		conflicts = storetest.Conflicting(c.Store, storetest.Times(7))
		c.Store = conflicts
	})
	grant := h.signIn(t)
	if _, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request); err != nil {
		t.Fatal(err)
	}
	if conflicts.Injected() != 7 {
		t.Errorf("%d conflicts were met, want 7", conflicts.Injected())
	}
}

func TestARevokedSessionOnTheOwnDenylistIsRefused(t *testing.T) {
	h := start(t)
	grant := h.signIn(t)
	h.ledger.mu.Lock()
	h.ledger.denied[grant.SID] = true
	h.ledger.mu.Unlock()
	_, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	wantCode(t, err, broker.CodeSessionRevoked)
	_, err = h.Session(t.Context(), grant.RefreshToken, request)
	wantCode(t, err, broker.CodeSessionRevoked)
}

// TestOneWinnerAmongConcurrentRefreshes: whatever the interleaving, all callers end with
// the one current token and the session lives.
func TestOneWinnerAmongConcurrentRefreshes(t *testing.T) {
	h := start(t)
	first := h.signIn(t)
	tokens := make(chan string, 32)
	var wg sync.WaitGroup
	for range cap(tokens) {
		wg.Go(func() {
			grant, err := h.Refresh(context.Background(), first.RefreshToken, first.CSRFToken, request)
			if err != nil {
				t.Error(err)
				return
			}
			tokens <- grant.RefreshToken
		})
	}
	wg.Wait()
	close(tokens)
	distinct := map[string]bool{}
	for token := range tokens {
		distinct[token] = true
	}
	if len(distinct) != 1 {
		t.Errorf("%d different successors", len(distinct))
	}
}

func TestConcurrentChangesShareCommits(t *testing.T) {
	h := start(t)
	grants := make([]*broker.Grant, 64)
	for i := range grants {
		grants[i] = h.signIn(t)
	}
	before := h.store.Commits()
	var wg sync.WaitGroup
	for _, g := range grants {
		wg.Go(func() {
			if _, err := h.LogOff(context.Background(), g.RefreshToken, g.CSRFToken, request); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := h.store.Commits() - before; got > 64 {
		t.Errorf("64 log-offs cost %d commits", got)
	}
	if n := len(h.ledger.events()); n != 64 {
		t.Errorf("%d events for 64 log-offs", n)
	}
}

func TestAnUncertainCommitEndsTheProcess(t *testing.T) {
	h := start(t, func(c *broker.Config) { c.Store = &uncertain{Store: c.Store} })
	_, err := h.SignIn(t.Context(), "ada", "lovelace", request)
	wantCode(t, err, broker.CodeInternal)
	if h.fatal.Load() == nil {
		t.Error("Fatal was not called")
	}
}

// uncertain fails every session's commit after it began.
type uncertain struct{ store.Store }

func (u *uncertain) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	for _, c := range changes {
		for _, w := range c.Writes {
			if strings.HasPrefix(w.Key, "session.") {
				errs := make([]error, len(changes))
				for i := range errs {
					errs[i] = store.ErrUncertain
				}
				return errs
			}
		}
	}
	return u.Store.Commit(ctx, changes, seal)
}

func TestClients(t *testing.T) {
	h := start(t)
	client := broker.Client{ID: "svc", Secret: "s3cret", Scopes: []string{"hello:read"}}
	for range 2 {
		if err := h.PutClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.PutClient(t.Context(), broker.Client{ID: "public"}); err != nil {
		t.Fatal(err)
	}
	if info, err := h.AuthenticateClient(t.Context(), "svc", "s3cret"); err != nil || info.ID != "svc" {
		t.Errorf("%+v, %v", info, err)
	}
	for id, secret := range map[string]string{"svc": "other", "public": "", "nobody": "s3cret"} {
		_, err := h.AuthenticateClient(t.Context(), id, secret)
		wantCode(t, err, broker.CodeInvalidClient)
	}
}

func TestNoSecretReachesTheLog(t *testing.T) {
	h := start(t)
	grant := h.signIn(t)
	_, _ = h.SignIn(t.Context(), "ada", "a-wrong-password", request)
	_, _ = h.Refresh(t.Context(), grant.RefreshToken, "bad", request)
	_, _ = h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	for _, secret := range []string{"lovelace", "a-wrong-password", grant.RefreshToken, grant.AccessToken, grant.CSRFToken} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log holds a secret")
		}
	}
}

func TestSignInWhileTooManyPasswordsWait(t *testing.T) {
	h := start(t, func(c *broker.Config) { c.Passwords = fakePasswords{busy: true} })
	_, err := h.SignIn(t.Context(), "ada", "lovelace", request)
	if app := wantCode(t, err, broker.CodeBusy); app.RetryAfter <= 0 {
		t.Error("no Retry-After")
	}
}

func TestAnOldPasswordHashIsReplacedAtSignIn(t *testing.T) {
	old := start(t)
	grant := old.signIn(t)
	h := start(t, func(c *broker.Config) { c.Store, c.Passwords = old.store, fakePasswords{rehash: true} })
	h.signIn(t)
	rec, err := old.store.Get(t.Context(), "user."+grant.UID)
	if err != nil || !strings.Contains(string(rec.Value), "hashed anew lovelace") {
		t.Errorf("%s, %v", rec.Value, err)
	}
	h.signIn(t)
}

func TestSigningEverybodyOut(t *testing.T) {
	h := start(t)
	before := h.signIn(t)
	if err := h.SignOutEverybody(t.Context(), revocation.ReasonRestore); err != nil {
		t.Fatal(err)
	}
	_, err := h.Refresh(t.Context(), before.RefreshToken, before.CSRFToken, request)
	wantCode(t, err, broker.CodeSessionRevoked)
	events := h.ledger.events()
	exp := int64(claimsOf(t, before.AccessToken)["exp"].(float64))
	if len(events) != 1 || events[0].Kind != revocation.KindAll || events[0].ExpiresAt <= exp {
		t.Fatalf("events %+v, token until %d", events, exp)
	}
	after := h.signIn(t)
	if sep := int64(claimsOf(t, after.AccessToken)["sep"].(float64)); sep != events[0].Epoch {
		t.Errorf("sep %d, want the epoch %d", sep, events[0].Epoch)
	}
	if _, err := h.Refresh(t.Context(), after.RefreshToken, after.CSRFToken, request); err != nil {
		t.Errorf("a session made after it: %v", err)
	}
	if err := h.SignOutEverybody(t.Context(), revocation.ReasonRestore); err != nil {
		t.Fatal(err)
	}
	if again := h.ledger.events(); again[1].Epoch <= again[0].Epoch {
		t.Error("two epochs in one clock tick are one")
	}
}
