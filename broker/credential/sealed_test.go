package credential_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
)

var now = time.Unix(1_800_000_000, 0)

func code() credential.AuthorizationCode {
	return credential.AuthorizationCode{
		UID: "u", SID: "s", BrowserSID: "b", ClientID: "demo-web", RedirectURI: "https://app.test/callback?a=1&b=2", Challenge: "c", Nonce: "n",
		Scopes: []string{"openid"}, Audience: []string{"demo-api", "https://api.test/"}, Resources: []string{"https://api.test/"}, Offline: true,
		UserInfoClaims: []string{"email"}, IDTokenClaims: []string{"name"}, ExpiresAt: now.Add(credential.CodeLife),
	}
}

func TestAuthorizationCodeOpensWithItsContents(t *testing.T) {
	text, err := code().Seal(brokertest.Secrets{Previous: true})
	if err != nil {
		t.Fatal(err)
	}
	got, expired, err := credential.OpenAuthorizationCode(text, brokertest.Secrets{}, now)
	if err != nil || expired || !reflect.DeepEqual(got, code()) {
		t.Errorf("got %+v, expired %v, %v", got, expired, err)
	}
}

// A code that is replayed after its end must still end the grant that was made for it.
func TestExpiredAuthorizationCodeStillOpens(t *testing.T) {
	text, _ := code().Seal(brokertest.Secrets{})
	for _, at := range []time.Time{now.Add(credential.CodeLife), now.Add(24 * time.Hour)} {
		got, expired, err := credential.OpenAuthorizationCode(text, brokertest.Secrets{}, at)
		if err != nil || !expired || got.SID != "s" {
			t.Errorf("at %v: got %+v, expired %v, %v", at, got, expired, err)
		}
	}
}

func TestChangedAuthorizationCodeIsRefused(t *testing.T) {
	text, _ := code().Seal(brokertest.Secrets{})
	refused := func(text string) {
		t.Helper()
		got, _, err := credential.OpenAuthorizationCode(text, brokertest.Secrets{}, now)
		if !errors.Is(err, credential.ErrAuthorizationCode) || !reflect.DeepEqual(got, credential.AuthorizationCode{}) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	for i := range text {
		changed := []byte(text)
		if changed[i]++; changed[i] == 'Z'+1 {
			changed[i] = 'a'
		}
		refused(string(changed))
	}
	for _, other := range []string{"", "AAAA", text[:10], text[:30], text + "A", text + "=", string(make([]byte, 1<<20))} {
		refused(other)
	}
}

// Each purpose has its own key: what was sealed for one is nothing for the others.
func TestSealedValuesOfOtherPurposesAreRefused(t *testing.T) {
	secrets := brokertest.Secrets{}
	authorization, _ := code().Seal(secrets)
	login, _ := credential.LoginState{State: "s"}.Seal(secrets, now.Add(time.Minute))
	proof, _ := credential.Continuation{Params: "a=b", Shown: now}.Seal(secrets)
	for _, text := range []string{login, proof} {
		if _, _, err := credential.OpenAuthorizationCode(text, secrets, now); !errors.Is(err, credential.ErrAuthorizationCode) {
			t.Errorf("a code: %v", err)
		}
	}
	for _, text := range []string{authorization, proof} {
		if _, err := credential.OpenLoginState(text, secrets, now); !errors.Is(err, credential.ErrLoginState) {
			t.Errorf("a login state: %v", err)
		}
	}
	for _, text := range []string{authorization, login} {
		if _, ok := credential.OpenContinue(text, "a=b", secrets, now); ok {
			t.Error("a continue token")
		}
	}
}

func TestLoginStateExpires(t *testing.T) {
	secrets := brokertest.Secrets{}
	text, _ := credential.LoginState{State: "s"}.Seal(secrets, now.Add(time.Minute))
	if got, err := credential.OpenLoginState(text, secrets, now.Add(time.Minute-1)); err != nil || got.State != "s" {
		t.Errorf("before its end: %+v, %v", got, err)
	}
	if _, err := credential.OpenLoginState(text, secrets, now.Add(time.Minute)); !errors.Is(err, credential.ErrLoginState) {
		t.Errorf("at its end: %v", err)
	}
}

func TestContinueTokenIsForOneRequestAndTenMinutes(t *testing.T) {
	secrets := brokertest.Secrets{}
	text, err := credential.Continuation{Params: "client_id=a", SID: "s", Shown: now}.Seal(secrets)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := credential.OpenContinue(text, "client_id=a", secrets, now.Add(credential.ContinueLife-1)); !ok || !c.Shown.Equal(now) || c.SID != "s" {
		t.Errorf("got %v, %v", c, ok)
	}
	if _, ok := credential.OpenContinue(text, "client_id=b", secrets, now); ok {
		t.Error("it counts for another request")
	}
	if _, ok := credential.OpenContinue(text, "client_id=a", secrets, now.Add(credential.ContinueLife)); ok {
		t.Error("it counts after its end")
	}
}

// A browser keeps a cookie whose name and value have at most 4,096 bytes. The longest authorization request has to fit into it.
func TestLoginStateOfTheLongestAuthorizationRequestFitsIntoACookie(t *testing.T) {
	const maxAuthorizeReturn = len("/auth/authorize") + broker.MaxAuthorizationQuery + 256 // the longest return_to
	secrets := brokertest.Secrets{}
	proof, _ := credential.Continuation{Params: "a", SID: broker.NewID().String(), Shown: now}.Seal(secrets)
	longest := "/auth/authorize?" + strings.Repeat("q", broker.MaxAuthorizationQuery) + "&" + broker.ContinueParam + "=" + proof + "&" + broker.ReturnParam + "=1"
	if len(longest) > maxAuthorizeReturn {
		t.Errorf("the longest request has %d bytes", len(longest))
	}
	text, _ := credential.LoginState{
		Provider: "a-provider-with-a-name", RedirectURI: "https://tokenbroker.some-department.example.org/auth/callback/a-provider-with-a-name/",
		State: credential.RandomText(), Nonce: credential.RandomText(), Verifier: credential.RandomText(), ReturnTo: strings.Repeat("&", maxAuthorizeReturn),
		Replaces: &credential.PriorSession{UID: broker.NewID().String(), SID: broker.NewID().String(), SecretHash: make([]byte, 32)},
	}.Seal(secrets, now)
	name := "__Host-login_" + broker.LoginCookieSuffix("state")
	if size := len(name) + len(text); size > 4096 {
		t.Errorf("the cookie has %d bytes", size)
	}
}
