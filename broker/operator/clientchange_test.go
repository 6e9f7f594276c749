package operator_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

// webApp is a confidential client as an operator registers it.
func webApp() operator.NewClient {
	return operator.NewClient{ID: "web-app", ClientSettings: operator.ClientSettings{
		Name: new("Web app"), Scopes: []string{"openid", "hello:read"}, Grants: []string{"authorization_code", "refresh_token"},
		RedirectURIs: []string{"https://app.example.com/callback"}, AccessToken: new("1m"), RefreshGrace: new("0s"),
	}}
}

func mustAddClient(t *testing.T, h *brokertest.Harness, client operator.NewClient) operator.ClientSecret {
	t.Helper()
	added, err := h.AddClient(t.Context(), client, brokertest.Operator)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func record(t *testing.T, h *brokertest.Harness, id string) directory.ClientRecord {
	t.Helper()
	record, _, err := directory.ReadClient(t.Context(), h.Store, id)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestAnAddedClientHasASecretThatNoLaterAnswerShows(t *testing.T) {
	h := brokertest.Start(t)
	added := mustAddClient(t, h, webApp())
	if len(added.Secret) != 43 || strings.ContainsAny(added.Secret, "+/=") {
		t.Errorf("the secret has %d characters, want 256 bits in base64url", len(added.Secret))
	}
	if _, err := authenticate(t, h, "web-app", added.Secret); err != nil {
		t.Error(err)
	}
	info, err := h.Client(t.Context(), "web-app")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(added.ClientInfo, info); diff != "" {
		t.Error(diff)
	}
	if !info.Dynamic || info.Public || !info.HasSecret || info.Name != "Web app" || info.AccessToken.Std() != time.Minute ||
		info.RefreshGrace == nil || *info.RefreshGrace != 0 || !info.CreatedAt.Equal(h.Clock.Now()) {
		t.Errorf("%+v", info)
	}
	shown, err := json.Marshal(info)
	if err != nil || strings.Contains(string(shown), "secret_hash") || strings.Contains(string(shown), `"secret"`) {
		t.Errorf("%s, %v", shown, err)
	}
	if log := h.Log.String(); strings.Contains(log, added.Secret) || !strings.Contains(log, "event=client_add") {
		t.Errorf("the log:\n%s", log)
	}
	_, err = h.AddClient(t.Context(), webApp(), brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeClientExists)
}

func TestClientsWithoutASecret(t *testing.T) {
	h := brokertest.Start(t)
	workloads := []operator.Workload{{Issuer: "https://ci.example.com", Subject: "job", Audience: "broker"}}
	for _, client := range []operator.NewClient{
		{ID: "spa", Public: true},
		{ID: "job", ClientSettings: operator.ClientSettings{Workloads: workloads, Grants: []string{"client_credentials"}}},
		{ID: "key", ClientSettings: operator.ClientSettings{JWKS: map[string]any{"keys": []any{map[string]any{"kty": "OKP"}}}}},
	} {
		if added := mustAddClient(t, h, client); added.Secret != "" || added.HasSecret || added.Public != client.Public {
			t.Errorf("%+v", added)
		}
	}
	for name, client := range map[string]operator.NewClient{
		"public with workloads":          {ID: "a", Public: true, ClientSettings: operator.ClientSettings{Workloads: workloads}},
		"public with client_credentials": {ID: "a", Public: true, ClientSettings: operator.ClientSettings{Grants: []string{"client_credentials"}}},
		"a duration without a unit":      {ID: "a", ClientSettings: operator.ClientSettings{AccessToken: new("60")}},
		"a bad id":                       {ID: "a b"},
		"a bad redirect URI":             {ID: "a", ClientSettings: operator.ClientSettings{RedirectURIs: []string{"http://a.example/"}, Grants: []string{"authorization_code"}}},
	} {
		_, err := h.AddClient(t.Context(), client, brokertest.Operator)
		if app := brokertest.WantCode(t, err, broker.CodeInvalidClientConfig); !strings.HasSuffix(app.Message, ".") {
			t.Errorf("%s: %s", name, app.Message)
		}
	}
}

func TestAChangeOfAClientKeepsWhatItDoesNotName(t *testing.T) {
	h := brokertest.Start(t)
	added := mustAddClient(t, h, webApp())
	changed, err := h.UpdateClient(t.Context(), "web-app", operator.ClientSettings{
		Name: new(""), Origins: []string{"https://app.example.com"}, AccessToken: new(""), SessionAbsolute: new("8h"), RefreshGrace: new(""), FirstParty: new(true),
	}, brokertest.Operator)
	if err != nil {
		t.Fatal(err)
	}
	want := added.ClientInfo
	want.Name, want.Origins, want.AccessToken, want.SessionAbsolute, want.RefreshGrace, want.FirstParty = "", []string{"https://app.example.com"}, 0, changed.SessionAbsolute, nil, true
	if diff := cmp.Diff(want, changed); diff != "" || changed.SessionAbsolute.Std() != 8*time.Hour {
		t.Error(diff)
	}
	if _, err := authenticate(t, h, "web-app", added.Secret); err != nil {
		t.Error(err)
	}
	again, err := h.UpdateClient(t.Context(), "web-app", operator.ClientSettings{Origins: []string{}, Grants: []string{}, RedirectURIs: []string{}}, brokertest.Operator)
	if err != nil || len(again.Origins)+len(again.Grants)+len(again.RedirectURIs) > 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestRefusedChangesOfAClient(t *testing.T) {
	h := brokertest.Start(t)
	if err := h.SetClients(t.Context(), []broker.Client{{ID: "configured", Secret: "s3cret"}, {ID: "gone", Secret: "s3cret"}}); err != nil {
		t.Fatal(err)
	}
	if err := h.SetClients(t.Context(), []broker.Client{{ID: "configured", Secret: "s3cret"}}); err != nil {
		t.Fatal(err)
	}
	mustAddClient(t, h, operator.NewClient{ID: "spa", Public: true})
	mustAddClient(t, h, operator.NewClient{ID: "job", ClientSettings: operator.ClientSettings{JWKSURI: new("https://job.example.com/keys")}})
	update := func(id string, change operator.ClientSettings) error {
		_, err := h.UpdateClient(t.Context(), id, change, brokertest.Operator)
		return err
	}
	rotate := func(id string, overlap time.Duration) error {
		_, err := h.RotateClientSecret(t.Context(), id, overlap, brokertest.Operator)
		return err
	}
	remove := func(id string) error {
		_, err := h.RemoveClient(t.Context(), id, brokertest.Operator)
		return err
	}
	for _, tt := range []struct {
		name     string
		err      error
		code     broker.Code
		fragment string
	}{
		{"change of a configured client", update("configured", operator.ClientSettings{Name: new("x")}), broker.CodeInvalidClientConfig, "clients.configured"},
		{"rotation of a configured client", rotate("configured", 0), broker.CodeInvalidClientConfig, "previous_secret"},
		{"removal of a configured client", remove("configured"), broker.CodeInvalidClientConfig, "clients.configured"},
		{"change of a removed client", update("gone", operator.ClientSettings{Name: new("x")}), broker.CodeUnknownClient, ""},
		{"rotation of an unknown client", rotate("nobody", 0), broker.CodeUnknownClient, ""},
		{"removal of a removed client", remove("gone"), broker.CodeUnknownClient, ""},
		{"rotation of a public client", rotate("spa", 0), broker.CodeInvalidClientConfig, "public"},
		{"a public client becomes confidential", update("spa", operator.ClientSettings{JWKSURI: new("https://a.example.com/keys")}), broker.CodeInvalidClientConfig, "confidential"},
		{"a confidential client becomes public", update("job", operator.ClientSettings{JWKSURI: new("")}), broker.CodeInvalidClientConfig, "public"},
		{"a bad value", update("spa", operator.ClientSettings{Scopes: []string{"a b"}}), broker.CodeInvalidClientConfig, "scopes"},
		{"a negative overlap", rotate("job", -time.Second), broker.CodeInvalidClientConfig, "overlap"},
		{"a long overlap", rotate("job", operator.MaxOverlap+time.Second), broker.CodeInvalidClientConfig, "30d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if app := brokertest.WantCode(t, tt.err, tt.code); !strings.Contains(app.Message, tt.fragment) {
				t.Errorf("%q, want %q in it", app.Message, tt.fragment)
			}
		})
	}
}

// Of two changes at the same time, by two brokers, none is lost.
func TestConcurrentChangesOfAClientAreBothKept(t *testing.T) {
	one, other := racing(t, "client.", func(one *brokertest.Harness) {
		if _, err := one.UpdateClient(context.Background(), "web-app", operator.ClientSettings{Name: new("Renamed")}, brokertest.Operator); err != nil {
			t.Error(err)
		}
	})
	mustAddClient(t, one, webApp())
	if _, err := other.UpdateClient(t.Context(), "web-app", operator.ClientSettings{FirstParty: new(true)}, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	if info, err := one.Client(t.Context(), "web-app"); err != nil || info.Name != "Renamed" || !info.FirstParty {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestOfTwoClientsWithOneIDOnlyOneIsAdded(t *testing.T) {
	h := brokertest.Start(t)
	results := brokertest.AtOnce(8, func(int) (operator.ClientSecret, error) {
		return h.AddClient(t.Context(), webApp(), brokertest.Operator)
	})
	var added []operator.ClientSecret
	for _, r := range results {
		if r.Err != nil {
			brokertest.WantCode(t, r.Err, broker.CodeClientExists)
			continue
		}
		added = append(added, r.Value)
	}
	if len(added) != 1 {
		t.Fatalf("%d were added", len(added))
	}
	if _, err := authenticate(t, h, "web-app", added[0].Secret); err != nil {
		t.Error(err)
	}
}

func TestARotatedSecretStaysValidForTheOverlap(t *testing.T) {
	h := brokertest.Start(t)
	first := mustAddClient(t, h, webApp())
	second, err := h.RotateClientSecret(t.Context(), "web-app", time.Hour, brokertest.Operator)
	if err != nil || second.Secret == first.Secret || !second.HasPreviousSecret || !second.PreviousSecretUntil.Equal(h.Clock.Now().Add(time.Hour)) {
		t.Fatalf("%+v, %v", second.ClientInfo, err)
	}
	accepted := func(secret string, want bool) {
		t.Helper()
		if _, err := authenticate(t, h, "web-app", secret); (err == nil) != want {
			t.Errorf("accepted: %v, want %v: %v", err == nil, want, err)
		}
	}
	h.Clock.Advance(time.Hour - time.Second)
	accepted(first.Secret, true)
	accepted(second.Secret, true)
	stored := record(t, h, "web-app")
	if diff := cmp.Diff([][]byte{directory.HashSecret(second.Secret), directory.HashSecret(first.Secret)}, [][]byte{stored.SecretHash, stored.PreviousHash}); diff != "" {
		t.Error(diff)
	}
	if _, err := h.UpdateClient(t.Context(), "web-app", operator.ClientSettings{Name: new("x")}, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	if now := record(t, h, "web-app"); now.PreviousUntil != stored.PreviousUntil || len(now.PreviousHash) == 0 {
		t.Error("a change of the client ended the overlap")
	}
	h.Clock.Advance(time.Second)
	accepted(first.Secret, false)
	accepted(second.Secret, true)
	if info, err := h.Client(t.Context(), "web-app"); err != nil || info.HasPreviousSecret {
		t.Errorf("after the overlap: %+v, %v", info, err)
	}
	third, err := h.RotateClientSecret(t.Context(), "web-app", 0, brokertest.Operator)
	if err != nil || third.HasPreviousSecret {
		t.Errorf("%+v, %v", third.ClientInfo, err)
	}
	if stored := record(t, h, "web-app"); len(stored.PreviousHash) > 0 {
		t.Error("the secret before a rotation without overlap is still recorded")
	}
	accepted(second.Secret, false)
	accepted(third.Secret, true)
	if log := h.Log.String(); strings.Contains(log, second.Secret) || !strings.Contains(log, "event=client_rotate_secret") {
		t.Errorf("the log:\n%s", log)
	}
}

func TestARemovedClientEndsWithItsSessions(t *testing.T) {
	h := brokertest.Start(t)
	mustAddClient(t, h, operator.NewClient{ID: "demo-spa", Public: true})
	grant := h.MustSignIn(t)
	done, err := h.RemoveClient(t.Context(), "demo-spa", brokertest.Operator)
	if err != nil || !done.Changed || !done.Broadcast || done.Kind != "client" || done.Value != "demo-spa" || done.Epoch == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	events := h.Ledger.Events()
	if len(events) != 1 || events[0].Kind != revocation.KindClient || events[0].Epoch != done.Epoch || events[0].By != "uid 1000" {
		t.Errorf("%+v", events)
	}
	_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
	_, err = h.Client(t.Context(), "demo-spa")
	brokertest.WantCode(t, err, broker.CodeUnknownClient)
	if diff := cmp.Diff(directory.ClientRecord{V: 1, ID: "demo-spa", Removed: true, Epoch: done.Epoch}, record(t, h, "demo-spa")); diff != "" {
		t.Error(diff)
	}

	// The next client with this id has none of its sessions.
	again := mustAddClient(t, h, operator.NewClient{ID: "demo-spa", Public: true})
	if again.Epoch <= done.Epoch || len(h.Ledger.Events()) != 2 {
		t.Errorf("epoch %d, want more than %d, with an event", again.Epoch, done.Epoch)
	}
	_, err = h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeSessionRevoked)
}

func TestSetClientsKeepsDynamicClients(t *testing.T) {
	h := brokertest.Start(t)
	added := mustAddClient(t, h, webApp())
	for _, configured := range [][]broker.Client{{{ID: "a", Secret: "secret of a"}}, nil, {{ID: "b"}}} {
		if err := h.SetClients(t.Context(), configured); err != nil {
			t.Fatal(err)
		}
		if _, err := authenticate(t, h, "web-app", added.Secret); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(h.Log.String(), "WARN") {
		t.Errorf("the log:\n%s", h.Log)
	}
}

func TestAConfiguredClientReplacesADynamicOne(t *testing.T) {
	h := brokertest.Start(t)
	added := mustAddClient(t, h, webApp())
	revoked, err := h.RevokeClient(t.Context(), "web-app", "", brokertest.Operator)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.SetClients(t.Context(), []broker.Client{{ID: "web-app", Secret: "configured"}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = authenticate(t, h, "web-app", added.Secret)
	brokertest.WantCode(t, err, broker.CodeInvalidClient)
	if info, err := h.Client(t.Context(), "web-app"); err != nil || info.Dynamic || info.Name != "" || info.Epoch != revoked.Epoch {
		t.Errorf("%+v, %v", info, err)
	}
	if n := strings.Count(h.Log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, h.Log)
	}
	if err := h.SetClients(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !record(t, h, "web-app").Removed {
		t.Error("the client is not removed with its configuration")
	}
}

// All fields of a configured client are written, and an equal client is not written again.
func TestPutClientWritesEveryField(t *testing.T) {
	h := brokertest.Start(t)
	client := broker.Client{
		ID: "svc", Secret: "s3cret", PreviousSecret: "earlier", Name: "Service", Scopes: []string{"a"}, DefaultScopes: []string{"a"}, Audiences: []string{"api"},
		Grants: []string{broker.GrantAuthorizationCode}, RedirectURIs: []string{"https://a.example/cb"}, PostLogoutURIs: []string{"https://a.example/"},
		Origins: []string{"https://a.example"}, FirstParty: true, AccessLife: time.Minute, Idle: time.Hour, Absolute: 2 * time.Hour, Grace: new(time.Duration(0)),
		JWKS: json.RawMessage(`{ "keys": [ {"kty": "OKP"} ] }`), Workloads: []broker.Workload{{Issuer: "https://ci.example", Subject: "s", Audience: "a"}},
	}
	revision := func() any {
		t.Helper()
		if err := h.PutClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		stored, rev, err := directory.ReadClient(t.Context(), h.Store, "svc")
		if err != nil {
			t.Fatal(err)
		}
		want := directory.NewClientRecord(client)
		want.CreatedAt, want.JWKS = 1_800_000_000, json.RawMessage(`{"keys":[{"kty":"OKP"}]}`)
		if diff := cmp.Diff(want, stored); diff != "" {
			t.Error(diff)
		}
		return rev
	}
	first := revision()
	h.Clock.Advance(time.Hour)
	if again := revision(); again != first {
		t.Error("an equal client was written again")
	}
	for name, change := range map[string]func(){
		"previous secret": func() { client.PreviousSecret = "" },
		"redirect URIs":   func() { client.RedirectURIs = []string{"https://a.example/other"} },
		"grace":           func() { client.Grace = nil },
		"first party":     func() { client.FirstParty = false },
	} {
		change()
		if again := revision(); again == first {
			t.Errorf("the change of the %s was not written", name)
		} else {
			first = again
		}
	}
}

func TestListClientsInPages(t *testing.T) {
	h := brokertest.Start(t)
	if err := h.SetClients(t.Context(), []broker.Client{{ID: "b", Secret: "s3cret"}, {ID: "gone"}}); err != nil {
		t.Fatal(err)
	}
	if err := h.SetClients(t.Context(), []broker.Client{{ID: "b", Secret: "s3cret"}}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "c"} {
		mustAddClient(t, h, operator.NewClient{ID: id, Public: true})
	}
	h.Put(t, directory.ClientKey("damaged"), "{")
	var ids []string
	unreadable := 0
	for after := ""; ; {
		page, err := h.ListClients(t.Context(), operator.ClientQuery{After: after, Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Clients {
			ids = append(ids, c.ID)
		}
		unreadable += page.Unreadable
		if after = page.Next; after == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, ids); diff != "" || unreadable != 1 {
		t.Error(diff, unreadable)
	}
}

// TestNoClientIsRegisteredWhileBrokersOfTheReleaseBeforeRun: each of them would remove the client when it starts.
func TestNoClientIsRegisteredWhileBrokersOfTheReleaseBeforeRun(t *testing.T) {
	version := 1
	h := brokertest.Start(t, func(c *brokertest.Config) { c.StoreVersion = func() int { return version } })
	add := func() error {
		_, err := h.AddClient(t.Context(), operator.NewClient{ID: "job", ClientSettings: operator.ClientSettings{JWKSURI: new("https://job.example.com/keys")}}, brokertest.Operator)
		return err
	}
	brokertest.WantCode(t, add(), broker.CodeUnavailable)
	version = 2
	if err := add(); err != nil {
		t.Error(err)
	}
}
