package enduser_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
)

// cookies returns the cookies of these nonces, as a browser would send them.
func cookies(of ...broker.ExchangeNonce) func(string) (string, error) {
	return func(suffix string) (string, error) {
		for _, n := range of {
			if n.CookieSuffix == suffix {
				return n.CookieValue, nil
			}
		}
		return "", nil
	}
}

// unmarked returns a harness whose provider does not prove that its tokens are id tokens.
func unmarked(t *testing.T) (*brokertest.Harness, func(hash, nonce string, cookie func(string) (string, error)) error) {
	h, p := brokertest.Federated(t)
	p.Identity.Proven = false
	return h, func(hash, nonce string, cookie func(string) (string, error)) error {
		p.Mu.Lock()
		p.Identity.TokenHash, p.Identity.Nonce = hash, nonce
		p.Mu.Unlock()
		_, err := h.ExchangeTokens(context.Background(), "cognito", broker.UpstreamTokens{NonceCookie: cookie}, brokertest.Request)
		return err
	}
}

func TestAnExchangeNeedsAProvenIDToken(t *testing.T) {
	h, exchange := unmarked(t)
	mine, other := h.NewExchangeNonce(), h.NewExchangeNonce()
	good, tab := h.NewExchangeNonce(), h.NewExchangeNonce()
	raw, err := base64.RawURLEncoding.DecodeString(mine.Nonce)
	if err != nil {
		t.Fatal(err)
	}
	raw[7]++ // one second later
	longer := base64.RawURLEncoding.EncodeToString(raw)
	for name, tc := range map[string]struct {
		nonce  string
		cookie func(string) (string, error)
		want   broker.Code
	}{
		"no nonce":                               {"", cookies(mine), broker.CodeIDTokenUnproven},
		"a nonce of the SPA's own":               {"0123456789abcdef0123456789abcdef0123456789abcdef012345", cookies(mine), broker.CodeIDTokenUnproven},
		"a nonce with a longer life":             {longer, cookies(mine), broker.CodeIDTokenUnproven},
		"a nonce with another spelling":          {mine.Nonce + "=", cookies(mine), broker.CodeIDTokenUnproven},
		"the nonce's cookie as the nonce":        {mine.CookieValue, cookies(mine), broker.CodeIDTokenUnproven},
		"no cookies":                             {mine.Nonce, nil, broker.CodeNonceInvalid},
		"another browser's cookie":               {mine.Nonce, cookies(other), broker.CodeNonceInvalid},
		"another nonce's cookie":                 {mine.Nonce, func(string) (string, error) { return other.CookieValue, nil }, broker.CodeNonceInvalid},
		"the nonce as the cookie":                {mine.Nonce, func(string) (string, error) { return mine.Nonce, nil }, broker.CodeNonceInvalid},
		"a cookie that occurs twice":             {mine.Nonce, func(string) (string, error) { return "", &broker.Error{Code: "twice"} }, "twice"},
		"the cookie together with another tab's": {good.Nonce, cookies(tab, good), ""},
		"the other tab":                          {tab.Nonce, cookies(tab, good), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := exchange(name, tc.nonce, tc.cookie)
			if tc.want == "" && err != nil {
				t.Fatal(err)
			}
			if tc.want != "" {
				brokertest.WantCode(t, err, tc.want)
			}
		})
	}
	if log := h.Log.String(); strings.Contains(log, mine.Nonce) || strings.Contains(log, mine.CookieValue) {
		t.Errorf("the log contains a nonce or its cookie:\n%s", log)
	}
}

func TestANonceIsUsedOnce(t *testing.T) {
	h, exchange := unmarked(t)
	nonce := h.NewExchangeNonce()
	if err := exchange("first", nonce.Nonce, cookies(nonce)); err != nil {
		t.Fatal(err)
	}
	brokertest.WantCode(t, exchange("first", nonce.Nonce, cookies(nonce)), broker.CodeTokenUsed)
	brokertest.WantCode(t, exchange("second", nonce.Nonce, cookies(nonce)), broker.CodeNonceUsed)
	brokertest.WantCode(t, exchange("second", nonce.Nonce, nil), broker.CodeNonceUsed)

	together := h.NewExchangeNonce()
	errs := make(chan error, 16)
	var all sync.WaitGroup
	for i := range cap(errs) {
		all.Go(func() { errs <- exchange("token"+strconv.Itoa(i), together.Nonce, cookies(together)) })
	}
	all.Wait()
	close(errs)
	won := 0
	for err := range errs {
		var refused *broker.Error
		switch {
		case err == nil:
			won++
		case !errors.As(err, &refused) || refused.Code != broker.CodeNonceUsed && refused.Code != broker.CodeTokenUsed:
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d sessions for one nonce", won)
	}
}

func TestANonceExpires(t *testing.T) {
	h, exchange := unmarked(t)
	late, intime := h.NewExchangeNonce(), h.NewExchangeNonce()
	if !late.ExpiresAt.Equal(h.Clock.Now().Add(broker.NonceLife)) || late.ExpiresIn != broker.NonceLife {
		t.Errorf("expires at %v, in %v", late.ExpiresAt, late.ExpiresIn)
	}
	h.Clock.Advance(broker.NonceLife - 1)
	if err := exchange("in time", intime.Nonce, cookies(intime)); err != nil {
		t.Error(err)
	}
	h.Clock.Advance(1)
	brokertest.WantCode(t, exchange("late", late.Nonce, cookies(late)), broker.CodeNonceExpired)
}

// TestAnIssuedNonceIsCheckedForAProvenIDToken: a nonce promises that the token was made for
// this browser, so that it is checked even if it is not needed.
func TestAnIssuedNonceIsCheckedForAProvenIDToken(t *testing.T) {
	h, p := brokertest.Federated(t) // proven by the provider
	nonce := h.NewExchangeNonce()
	p.Identity.Nonce = nonce.Nonce
	_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeNonceInvalid)
	if _, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{NonceCookie: cookies(nonce)}, brokertest.Request); err != nil {
		t.Error(err)
	}
	p.Identity.Nonce, p.Identity.TokenHash = "of-the-SPA-s-own", "t2"
	if _, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request); err != nil {
		t.Errorf("a nonce of the SPA's own together with the provider's mark: %v", err)
	}
}

func TestNoncesOutliveARotationOfTheMasterSecret(t *testing.T) {
	before := brokertest.Start(t, func(c *brokertest.Config) { c.Secrets = brokertest.Secrets{Previous: true} })
	nonce := before.NewExchangeNonce()
	_, exchange := unmarked(t) // its current secret is newer
	if err := exchange("t", nonce.Nonce, cookies(nonce)); err != nil {
		t.Error(err)
	}
}

// TestIssuingANonceStoresNothing checks that the broker stores no record.
func TestIssuingANonceStoresNothing(t *testing.T) {
	h, _ := unmarked(t)
	for range 100 {
		h.NewExchangeNonce()
	}
	if records, err := h.Store.List(t.Context(), "once.", "", 10); err != nil || len(records) != 0 {
		t.Errorf("%d records, %v", len(records), err)
	}
}
