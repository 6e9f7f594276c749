package enduser_test

import (
	"encoding/base64"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
)

// idTokenOf returns a token that names an issuer; the provider of the tests does not look at the rest.
func idTokenOf(issuer string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`"}`)) + ".c2ln"
}

func TestAnIDTokenIsProvenAsInAnExchange(t *testing.T) {
	h, p := brokertest.Federated(t)
	uid, open, marks, err := h.ProveIDToken(t.Context(), idTokenOf("https://idp.test"), "", brokertest.Request)
	if err != nil || uid == "" || len(marks) != 1 || open.UpstreamSubject != "sub-1" || open.Profile == nil || open.Provider != "cognito" {
		t.Fatalf("uid %q, open %+v, %d marks, %v", uid, open, len(marks), err)
	}
	for name, token := range map[string]string{
		"another issuer": idTokenOf("https://evil.test"), "no issuer": "e30.e30.c2ln", "no token": "x", "empty": "",
		"two segments": "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":`)),
	} {
		if _, _, _, err := h.ProveIDToken(t.Context(), token, "", brokertest.Request); brokertest.WantCode(t, err, broker.CodeUnknownProvider) == nil {
			t.Error(name)
		}
	}
	p.Mu.Lock()
	p.Identity.Proven = false
	p.Mu.Unlock()
	_, _, _, err = h.ProveIDToken(t.Context(), idTokenOf("https://idp.test"), "", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeIDTokenUnproven)
}

func TestTheProofOfAnIDTokenIsThrottled(t *testing.T) {
	h, _ := brokertest.Federated(t, func(c *brokertest.Config) { c.Throttle = brokertest.Throttle{Wait: time.Second} })
	_, _, _, err := h.ProveIDToken(t.Context(), idTokenOf("https://idp.test"), "", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeTooManyAttempts)
}
