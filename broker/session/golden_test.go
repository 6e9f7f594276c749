package session_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// TestRecordsAreStoredAsBefore compares the stored form of records with the bytes in
// testdata/records.golden: an upgrade must read what an earlier version wrote, and the
// reverse.
func TestRecordsAreStoredAsBefore(t *testing.T) {
	at := time.Unix(1764412345, 0)
	session1 := session.Session{
		V: 1, UID: "mfrggzdfmztwq2lknnwg23tpoa", SID: "mfrggzdfmztwq2lknnwg23tpob", Channel: session.ChannelCookie, ClientID: "demo-spa", Scope: "hello:read",
		Generation: 9, RotationsMS: []int64{1764412345678, 1764412045678}, SecretHash: bytes.Repeat([]byte{7}, 32),
		SEP: 1764412345678, CEP: 1764412345679, AuthTime: 1764412345, ACR: "1", AMR: []string{"pwd", "otp"}, Device: "Mozilla/5.0 (X11; Linux x86_64)",
		Provider: "cognito", UpstreamSID: "up", UpstreamIssuer: "https://idp.example.com", UpstreamSubject: "ada",
		CreatedAt: 1764412345, LastUsed: 1764412346, TokenExp: 1764412645, SIDExpires: 1764419999, Source: []byte{1, 2, 3, 255},
	}
	ended := session1
	ended.Ended = &session.End{Reason: revocation.ReasonLogoff, At: 1764412400}
	escaped := session1
	escaped.Device, escaped.AMR, escaped.Scope = "<a> & \"b\" \\ \u2028 \x01 世界 \xff", []string{}, ""
	user := session.NewUser("mfrggzdfmztwq2lknnwg23tpoa", "ada", "$argon2id$v=19$x", map[string]any{"email": "ada@example.com", "n": json.Number("12345678901234567890"), "l": []any{nil, true, map[string]any{}}}, at)
	user.PasswordSerial, user.Roles, user.Groups, user.Disabled = 3, []string{"admin"}, []string{"a", "<b>"}, true
	user.Accounts, user.LastLogin, user.Epoch = []session.Account{{Issuer: "https://idp.example.com", Subject: "ada"}, {}}, 1764412346, 1764412345678
	grant := session1
	grant.Channel, grant.ClientID, grant.BrowserSID, grant.Audience = session.ChannelOAuth, "demo-web", "mfrggzdfmztwq2lknnwg23tpoc", []string{"demo-api", "https://api.example.com/"}
	grant.UserInfoClaims, grant.IDTokenClaims, grant.AccessS, grant.IdleS, grant.AbsoluteS, grant.GraceS = []string{"email"}, []string{"name"}, 60, 3600, 7200, 5
	offline, browser, consenting := grant, session1, *user
	offline.Offline = true
	browser.Grants = []string{"mfrggzdfmztwq2lknnwg23tpob"}
	consenting.Consents = []session.Consent{{ClientID: "demo-web", Scopes: []string{"openid", "email"}, At: 1764412346}}
	var got bytes.Buffer
	for _, record := range []interface{ Encode() ([]byte, error) }{
		&session.Session{V: 1}, &session1, &ended, &escaped, &session.User{V: 1}, session.NewUser("u", "", "", map[string]any{}, at), user,
		&grant, &offline, &browser, &consenting,
	} {
		data, err := record.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got.Write(append(data, '\n'))
	}
	path := filepath.Join("testdata", "records.golden")
	if *rewrite {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the records are stored as\n%s\nwant\n%s", got.Bytes(), want)
	}
}
