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
		got, err := EncodeClaims("https://issuer/", []string{"one", "two"}, eff, nil)
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
	got, err := EncodeClaims("i", []string{"a"}, eff, map[string]any{"z": 1, "groups": []string{"g"}})
	if err != nil || !json.Valid(got) || !strings.HasSuffix(string(got), `,"cep":9,"groups":["g"],"z":1}`) {
		t.Errorf("custom claims: %s, %v", got, err)
	}
}
