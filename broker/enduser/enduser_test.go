package enduser_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/revocation"
)

func TestSignInRefreshLogOff(t *testing.T) {
	h := brokertest.Start(t)
	first := h.MustSignIn(t)
	claims := brokertest.Claims(t, first.AccessToken)
	for _, name := range strings.Fields("iss sub aud exp iat nbf jti client_id sid scope auth_time acr amr sep cep") {
		if _, ok := claims[name]; !ok {
			t.Errorf("claim %s is missing", name)
		}
	}
	h.Clock.Advance(time.Minute)
	second, err := h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	if second.RefreshToken == first.RefreshToken {
		t.Error("the refresh token did not rotate")
	}
	if second.CSRFToken != first.CSRFToken || second.SID != first.SID {
		t.Error("CSRF token or sid changed within the session")
	}
	if a, b := claims["jti"], brokertest.Claims(t, second.AccessToken)["jti"]; a == b {
		t.Error("two access tokens share a jti")
	}
	again, err := h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, brokertest.Request)
	if err != nil {
		t.Fatalf("within the grace: %v", err)
	}
	if again.RefreshToken != second.RefreshToken {
		t.Error("a replay within the grace period must return the current token")
	}
	result, err := h.LogOff(t.Context(), first.RefreshToken, first.CSRFToken, brokertest.Request)
	if err != nil || !result.Ended || !result.Broadcast {
		t.Fatalf("log-off by an older generation: %+v, %v", result, err)
	}
	events := h.Ledger.Events()
	if len(events) != 1 || events[0].Kind != revocation.KindSID || events[0].Value != first.SID {
		t.Fatalf("events: %+v", events)
	}
	_, err = h.Refresh(t.Context(), second.RefreshToken, second.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionEnded)
	if result, err = h.LogOff(t.Context(), second.RefreshToken, second.CSRFToken, brokertest.Request); err != nil || !result.Broadcast {
		t.Fatalf("log-off twice: %+v, %v", result, err)
	}
	if n := len(h.Ledger.Events()); n != 1 {
		t.Errorf("a second log-off recorded another event (%d)", n)
	}
}

func TestReuseOutsideTheGraceEndsTheSession(t *testing.T) {
	h := brokertest.Start(t)
	first := h.MustSignIn(t)
	second, err := h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	h.Clock.Advance(11 * time.Second)
	_, err = h.Refresh(t.Context(), first.RefreshToken, first.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeRefreshReused)
	_, err = h.Refresh(t.Context(), second.RefreshToken, second.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeRefreshReused)
	if events := h.Ledger.Events(); len(events) != 1 || events[0].Reason != revocation.ReasonReuse {
		t.Errorf("events: %+v", events)
	}
	if !strings.Contains(h.Log.String(), "refresh_refused") {
		t.Error("reuse left no audit line")
	}
}

func TestEachChangedCharacterOfARefreshTokenIsRefused(t *testing.T) {
	h := brokertest.Start(t)
	good := h.MustSignIn(t)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range good.RefreshToken {
		for _, c := range []byte{alphabet[i%64], alphabet[(i+1)%64], '=', '.'} {
			if good.RefreshToken[i] == c {
				continue
			}
			changed := good.RefreshToken[:i] + string(c) + good.RefreshToken[i+1:]
			_, err := h.Refresh(t.Context(), changed, good.CSRFToken, brokertest.Request)
			brokertest.WantCode(t, err, broker.CodeNoSession)
			if result, err := h.LogOff(t.Context(), changed, good.CSRFToken, brokertest.Request); err != nil || result.Ended {
				t.Fatalf("log-off by a changed token: %+v, %v", result, err)
			}
		}
	}
	for _, cut := range []string{"", "rt1.", good.RefreshToken[:50], good.RefreshToken + "A", "rt2." + good.RefreshToken[4:]} {
		_, err := h.Refresh(t.Context(), cut, good.CSRFToken, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeNoSession)
	}
	if _, err := h.Refresh(t.Context(), good.RefreshToken, good.CSRFToken, brokertest.Request); err != nil {
		t.Fatalf("the unchanged token afterwards: %v", err)
	}
}

func TestCSRFTokenOfAnotherSessionIsRefused(t *testing.T) {
	h := brokertest.Start(t)
	mine, other := h.MustSignIn(t), h.MustSignIn(t)
	for _, csrf := range []string{"", other.CSRFToken, mine.CSRFToken + "A"} {
		_, err := h.Refresh(t.Context(), mine.RefreshToken, csrf, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeCSRF)
		_, err = h.LogOff(t.Context(), mine.RefreshToken, csrf, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeCSRF)
	}
	if n := len(h.Ledger.Events()); n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestLogOffEndsTheSessionsOfDuplicates(t *testing.T) {
	h := brokertest.Start(t)
	mine, planted, bystander := h.MustSignIn(t), h.MustSignIn(t), h.MustSignIn(t)
	superseded := planted.RefreshToken
	if _, err := h.Refresh(t.Context(), superseded, planted.CSRFToken, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	forged := mine.RefreshToken[:len(mine.RefreshToken)-2] + "AA"
	alive := func(g *broker.Grant) bool {
		_, err := h.Session(t.Context(), g.RefreshToken, brokertest.Request)
		return err == nil
	}
	for _, csrf := range []string{"", bystander.CSRFToken} {
		_, err := h.LogOff(t.Context(), superseded, csrf, brokertest.Request, forged, mine.RefreshToken)
		brokertest.WantCode(t, err, broker.CodeCSRF)
	}
	if !alive(mine) || len(h.Ledger.Events()) != 0 {
		t.Fatal("a log-off with the CSRF token of no duplicate ended something")
	}
	off, err := h.LogOff(t.Context(), superseded, mine.CSRFToken, brokertest.Request, forged, "", mine.RefreshToken, mine.RefreshToken)
	if err != nil || !off.Ended || !off.Broadcast || off.SID != mine.SID {
		t.Errorf("%+v, %v; want the caller's own session ended and broadcast", off, err)
	}
	if alive(mine) || alive(planted) || !alive(bystander) {
		t.Errorf("alive: mine %v, planted %v, bystander %v", alive(mine), alive(planted), alive(bystander))
	}
	if n := len(h.Ledger.Events()); n != 2 {
		t.Errorf("%d events, want one for each session", n)
	}
	if off, err = h.LogOff(t.Context(), forged, mine.CSRFToken, brokertest.Request, "", "junk"); err != nil || off.Ended {
		t.Errorf("without a valid token: %+v, %v", off, err)
	}
}

func TestTokensOfThePreviousMasterSecretAreAccepted(t *testing.T) {
	h := brokertest.Start(t, func(c *brokertest.Config) { c.Secrets = brokertest.Secrets{Previous: true} })
	old := h.MustSignIn(t)
	rotated := brokertest.Start(t, func(c *brokertest.Config) { c.Store = h.Store })
	grant, err := rotated.Refresh(t.Context(), old.RefreshToken, old.CSRFToken, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	if grant.CSRFToken == old.CSRFToken {
		t.Error("the CSRF token is still made under the previous secret")
	}
}

func TestSignInRefusals(t *testing.T) {
	h := brokertest.Start(t)
	for name, password := range map[string]string{"ada": "wrong", "nobody": "lovelace", "": ""} {
		_, err := h.SignIn(t.Context(), name, password, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
	}
	slow := brokertest.Start(t, func(c *brokertest.Config) { c.Throttle = brokertest.Throttle{Wait: 3 * time.Second} })
	_, err := slow.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	if app := brokertest.WantCode(t, err, broker.CodeTooManyAttempts); app.RetryAfter != 3*time.Second {
		t.Errorf("Retry-After %s", app.RetryAfter)
	}
}

func TestLogOffReportsAPendingBroadcast(t *testing.T) {
	h := brokertest.Start(t)
	h.Ledger.Down = true
	grant := h.MustSignIn(t)
	result, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	if err != nil || !result.Ended || result.Broadcast {
		t.Fatalf("%+v, %v", result, err)
	}
	if again, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil || again.Broadcast {
		t.Errorf("a second log-off reports the pending broadcast as sent: %+v, %v", again, err)
	}
}

func TestARevokedSessionOnTheOwnDenylistIsRefused(t *testing.T) {
	h := brokertest.Start(t)
	grant := h.MustSignIn(t)
	h.Ledger.Mu.Lock()
	h.Ledger.Denied[grant.SID] = true
	h.Ledger.Mu.Unlock()
	_, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
	_, err = h.Session(t.Context(), grant.RefreshToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
}

// TestOneWinnerAmongConcurrentRefreshes: in any interleaving, all callers get
// the current token and the session continues.
func TestOneWinnerAmongConcurrentRefreshes(t *testing.T) {
	h := brokertest.Start(t)
	first := h.MustSignIn(t)
	tokens := make(chan string, 32)
	var wg sync.WaitGroup
	for range cap(tokens) {
		wg.Go(func() {
			grant, err := h.Refresh(context.Background(), first.RefreshToken, first.CSRFToken, brokertest.Request)
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

func TestNoSecretReachesTheLog(t *testing.T) {
	h := brokertest.Start(t)
	grant := h.MustSignIn(t)
	_, _ = h.SignIn(t.Context(), "ada", "a-wrong-password", brokertest.Request)
	_, _ = h.Refresh(t.Context(), grant.RefreshToken, "bad", brokertest.Request)
	_, _ = h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	for _, secret := range []string{"lovelace", "a-wrong-password", grant.RefreshToken, grant.AccessToken, grant.CSRFToken} {
		if strings.Contains(h.Log.String(), secret) {
			t.Errorf("the log contains a secret")
		}
	}
}

func TestSignInWhileTooManyPasswordsWait(t *testing.T) {
	h := brokertest.Start(t, func(c *brokertest.Config) { c.Passwords = brokertest.Passwords{Busy: true} })
	_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	if app := brokertest.WantCode(t, err, broker.CodeBusy); app.RetryAfter <= 0 {
		t.Error("no Retry-After")
	}
}

func TestAnOldPasswordHashIsReplacedAtSignIn(t *testing.T) {
	old := brokertest.Start(t)
	grant := old.MustSignIn(t)
	h := brokertest.Start(t, func(c *brokertest.Config) { c.Store, c.Passwords = old.Store, brokertest.Passwords{Rehash: true} })
	h.MustSignIn(t)
	rec, err := old.Store.Get(t.Context(), "user."+grant.UID)
	if err != nil || !strings.Contains(string(rec.Value), "rehashed lovelace") {
		t.Errorf("%s, %v", rec.Value, err)
	}
	h.MustSignIn(t)
}
