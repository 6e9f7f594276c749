package credential

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenbroker/broker/session"
)

// twinClaims is the claims for encoding/json.
type twinClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  []string `json:"aud"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	ID        string   `json:"jti"`
	ClientID  string   `json:"client_id"`
	SID       string   `json:"sid,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	SEP       int64    `json:"sep"`
	CEP       int64    `json:"cep"`
}

func TestClaimsAreEncodedLikeEncodingJSON(t *testing.T) {
	all := session.Session{
		UID: "u\"<", SID: "s", ClientID: "c & d", Scope: "a b", AuthTime: 7, ACR: "1", AMR: []string{"pwd", "é"}, SEP: 8, CEP: 9,
	}
	for name, s := range map[string]session.Session{"all": all, "none": {}} {
		eff := session.Effects{Session: &s, IssuedAt: 5, ExpiresAt: 6}
		got, err := SessionToken("https://issuer/", []string{"one", "two"}, eff).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		var twin twinClaims
		if err := json.Unmarshal(got, &twin); err != nil {
			t.Fatalf("%s: %v in %s", name, err, got)
		}
		want, err := json.Marshal(twinClaims{
			Issuer: "https://issuer/", Subject: s.UID, Audience: []string{"one", "two"}, Expires: 6, IssuedAt: 5, NotBefore: 5, ID: twin.ID,
			ClientID: s.ClientID, SID: s.SID, Scope: s.Scope, AuthTime: s.AuthTime, ACR: s.ACR, AMR: s.AMR, SEP: s.SEP, CEP: s.CEP,
		})
		if err != nil || len(twin.ID) != 36 || string(got) != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
	eff := session.Effects{Session: &all, IssuedAt: 5, ExpiresAt: 6}
	got, err := SessionToken("i", []string{"a"}, eff).Encode(map[string]any{"z": 1, "groups": []string{"g"}})
	if err != nil || !json.Valid(got) || !strings.HasSuffix(string(got), `,"cep":9,"groups":["g"],"z":1}`) {
		t.Errorf("custom claims: %s, %v", got, err)
	}
}

func TestOpenIDConnectCoreAppendixA3AtHash(t *testing.T) {
	const token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
	for algorithm, want := range map[string]string{
		"RS256": "77QmUPtjPfzWtF2AnpK9RQ", "ES256": "77QmUPtjPfzWtF2AnpK9RQ", "PS256": "77QmUPtjPfzWtF2AnpK9RQ",
	} {
		if got, err := atHash(token, algorithm); got != want || err != nil {
			t.Errorf("%s: %q, %v", algorithm, got, err)
		}
	}
	if got, err := atHash(token, "EdDSA"); len(got) != 43 || err != nil {
		t.Errorf("EdDSA: %q, %v; want half of a SHA-512", got, err)
	}
	if got, err := atHash(token, "none"); err == nil {
		t.Errorf("none: %q", got)
	}
}

func TestOpenIDConnectCoreSection2IDToken(t *testing.T) {
	all := IDToken{
		Issuer: "https://issuer/", Subject: "u\"", Audience: "c", IssuedAt: 5, ExpiresAt: 6, AuthTime: 4, Nonce: "n", ACR: "1", AMR: []string{"pwd"}, SID: "s",
	}
	got, err := all.Encode("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", "ES256", map[string]any{"email": "e"})
	const want = `{"iss":"https://issuer/","sub":"u\"","aud":"c","exp":6,"iat":5,"auth_time":4,"nonce":"n","at_hash":"77QmUPtjPfzWtF2AnpK9RQ",` +
		`"acr":"1","amr":["pwd"],"sid":"s","email":"e"}`
	if string(got) != want || err != nil {
		t.Errorf("%s, %v; want\n%s", got, err, want)
	}
	for _, name := range []string{"sub", "at_hash", "Nonce"} {
		if got, err := all.Encode("a", "ES256", map[string]any{name: "x"}); err == nil {
			t.Errorf("a claim %s is replaced: %s", name, got)
		}
	}
}

func TestRFC8693Section41Actor(t *testing.T) {
	token := AccessToken{ID: "j", Act: &Actor{Subject: "b", ClientID: "c", Prior: &Actor{Subject: "a", Prior: &Actor{Subject: "z"}}}}
	got, err := token.Encode(nil)
	if want := `,"act":{"sub":"b","client_id":"c","act":{"sub":"a"}}}`; err != nil || !strings.HasSuffix(string(got), want) {
		t.Errorf("%s, %v; want ...%s", got, err, want)
	}
}
