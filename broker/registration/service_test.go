package registration_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/registration"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	body        = `{"redirect_uris":["https://app.example.com/cb"],"client_name":"App","grant_types":["authorization_code","refresh_token"],"scope":"openid hello:read"}`
	publicBody  = `{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none","application_type":"native"}`
	unusedAfter = 24 * time.Hour
)

// rig is a broker where clients register.
type rig struct {
	*testing.T
	*brokertest.Harness
	clients *registration.Service
	audit   *strings.Builder
}

func start(t *testing.T, change func(*registration.Config), wiring ...func(*brokertest.Config)) *rig {
	h := brokertest.Start(t, wiring...)
	return onHarness(t, h, change)
}

// onHarness returns the use cases as of a broker that starts.
func onHarness(t *testing.T, h *brokertest.Harness, change func(*registration.Config)) *rig {
	r := &rig{T: t, Harness: h, audit: &strings.Builder{}}
	cfg := registration.Config{
		Path: h.Path, Store: h.Store, Clock: h.Clock, Limits: directory.ClientLimits{Policy: brokertest.Policy},
		Policy:    broker.ClientPolicy{Scopes: []string{"openid", "hello:read", "offline_access"}, RefreshTokens: true},
		PerMinute: 10, MaxClients: 100, UnusedAfter: unusedAfter,
		Logger: slog.New(slog.NewTextHandler(h.Log, nil)), Audit: slog.New(slog.NewTextHandler(r.audit, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	r.clients = registration.New(cfg)
	return r
}

// from is a request from an address.
func from(addr string) broker.Request { return broker.Request{Addr: addr, ID: "r1"} }

func (r *rig) register(body, addr string) (broker.ClientRegistration, error) {
	return r.clients.Register(context.Background(), json.RawMessage(body), "", from(addr))
}

func (r *rig) mustRegister(body string) broker.ClientRegistration {
	r.Helper()
	registered, err := r.register(body, "192.0.2.1")
	if err != nil {
		r.T.Fatal(err)
	}
	return registered
}

func (r *rig) record(id string) directory.ClientRecord {
	r.Helper()
	record, _, err := directory.ReadClient(r.Context(), r.Store, id)
	if err != nil {
		r.T.Fatal(err)
	}
	return record
}

func (r *rig) audits(event string) int { return strings.Count(r.audit.String(), "event="+event+" ") }

func TestRFC7591Section321ARegisteredClient(t *testing.T) {
	r := start(t, nil)
	registered := r.mustRegister(body)
	if len(registered.Secret) < 43 || len(registered.Token) < 43 || registered.Secret == registered.Token || !registered.IssuedAt.Equal(r.Clock.Now()) {
		t.Errorf("%+v", registered)
	}
	want := map[string]any{
		"client_name": "App", "redirect_uris": []string{"https://app.example.com/cb"}, "grant_types": []string{"authorization_code", "refresh_token"},
		"response_types": []string{"code"}, "scope": "openid hello:read", "token_endpoint_auth_method": "client_secret_basic",
	}
	if diff := cmp.Diff(want, registered.Metadata); diff != "" {
		t.Error(diff)
	}
	record := r.record(registered.ClientID)
	expires := r.Clock.Now().Add(unusedAfter).Unix()
	if !directory.IsRegisteredID(record.ID) || !record.Dynamic || record.FirstParty || record.Class() != broker.ClassRegistered || record.Registration.ExpiresAt != expires ||
		string(record.SecretHash) != string(directory.HashSecret(registered.Secret)) || string(record.Registration.TokenHash) != string(directory.HashSecret(registered.Token)) {
		t.Errorf("%+v", record)
	}
	again, err := r.clients.Client(t.Context(), registered.ClientID, registered.Token, from("192.0.2.9"))
	if err != nil || again.Secret != "" || again.Token != "" {
		t.Errorf("%+v, %v", again, err)
	}
	if diff := cmp.Diff(registered.Metadata, again.Metadata); diff != "" {
		t.Error(diff)
	}
	logs := r.audit.String() + r.Log.String()
	if r.audits("client_register") != 1 || strings.Contains(logs, registered.Secret) || strings.Contains(logs, registered.Token) {
		t.Errorf("the logs:\n%s", logs)
	}
	if public := r.mustRegister(publicBody); public.Secret != "" || !r.record(public.ClientID).Public() || public.Metadata["application_type"] != "native" {
		t.Errorf("%+v", public)
	}
}

func TestRegistrationsThatAreRefused(t *testing.T) {
	r := start(t, func(c *registration.Config) { c.Names = imitates("Bank") })
	for body, code := range map[string]broker.Code{
		`{`: broker.CodeInvalidClientMetadata,
		`{"redirect_uris":["https://user:hunter2@a.example/"]}`:                    broker.CodeInvalidRedirectURI,
		`{"redirect_uris":["https://a.example/"],"client_name":"Bank"}`:            broker.CodeInvalidClientMetadata,
		`{"redirect_uris":["https://a.example/"],"software_statement":"e30.e30."}`: broker.CodeUnapprovedSoftware,
	} {
		_, err := r.register(body, "192.0.2.1")
		brokertest.WantCode(t, err, code)
	}
	if r.audits("client_register_refused") != 4 || r.audits("client_register") != 0 || strings.Contains(r.audit.String(), "hunter2") {
		t.Errorf("the audit log:\n%s", r.audit)
	}
}

type imitates string

func (n imitates) Imitates(_ context.Context, name string) (bool, error) {
	return name == string(n), nil
}

type unreadNames struct{}

func (unreadNames) Imitates(context.Context, string) (bool, error) {
	return false, store.ErrUnavailable
}

func TestANameThatCannotBeComparedIsNotAnErrorOfTheClient(t *testing.T) {
	r := start(t, func(c *registration.Config) { c.Names = unreadNames{} })
	_, err := r.register(`{"client_name":"App","redirect_uris":["https://app.example.com/cb"]}`, "192.0.2.1")
	brokertest.WantCode(t, err, broker.CodeUnavailable)
}

func TestARegistrationNeedsTheInitialAccessToken(t *testing.T) {
	hash := sha256.Sum256([]byte("the initial token"))
	r := start(t, func(c *registration.Config) { c.InitialTokenHash = hash[:] })
	for _, token := range []string{"", "another", string(hash[:]), "the initial token "} {
		_, err := r.clients.Register(t.Context(), json.RawMessage(`not JSON`), token, from("192.0.2.1"))
		brokertest.WantCode(t, err, broker.CodeInvalidToken)
	}
	if r.audits("client_register_refused") != 4 {
		t.Errorf("the audit log:\n%s", r.audit)
	}
	if _, err := r.clients.Register(t.Context(), json.RawMessage(body), "the initial token", from("192.0.2.1")); err != nil {
		t.Error(err)
	}
}

func TestAFloodFromOneAddressIsRefused(t *testing.T) {
	r := start(t, nil)
	for range 10 {
		r.mustRegister(body)
	}
	for range 500 {
		_, err := r.register(body, "::ffff:192.0.2.1")
		if refused := brokertest.WantCode(t, err, broker.CodeTooManyAttempts); refused.RetryAfter != 6*time.Second {
			t.Fatalf("RetryAfter %v", refused.RetryAfter)
		}
	}
	if n := r.audits("client_register_refused"); n != 1 {
		t.Errorf("%d lines about one flood, want 1", n)
	}
	if _, err := r.register(body, "192.0.2.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	r.Clock.Advance(6 * time.Second)
	r.mustRegister(body)
	_, err := r.register(body, "192.0.2.1")
	brokertest.WantCode(t, err, broker.CodeTooManyAttempts)
}

func TestRequestsThatAreNotMetadataCountAgainstTheRate(t *testing.T) {
	r := start(t, nil)
	for i := range 11 {
		_, err := r.register(`{`, fmt.Sprintf("2001:db8::%x", i)) // one /64
		brokertest.WantCode(t, err, map[bool]broker.Code{false: broker.CodeInvalidClientMetadata, true: broker.CodeTooManyAttempts}[i == 10])
	}
	_, err := r.register(`{`, "2001:db8:0:1::1")
	brokertest.WantCode(t, err, broker.CodeInvalidClientMetadata)
}

func TestAFloodFromManyAddressesDoesNotFillTheAuditLog(t *testing.T) {
	r := start(t, nil)
	for i := range 1000 {
		_, err := r.register(`{`, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
		brokertest.WantCode(t, err, broker.CodeInvalidClientMetadata)
	}
	if n := r.audits("client_register_refused"); n != 60 {
		t.Errorf("%d lines", n)
	}
	r.Clock.Advance(time.Second)
	_, _ = r.register(`{`, "192.0.2.77")
	if !strings.Contains(r.audit.String(), "skipped=940") {
		t.Errorf("no line has the number of those that were not audited")
	}
}

func TestTheNumberOfClientsIsBounded(t *testing.T) {
	r := start(t, func(c *registration.Config) { c.MaxClients, c.PerMinute = 3, 1000 })
	r.mustRegister(body)
	r.mustRegister(body)
	outcomes := brokertest.AtOnce(8, func(int) (broker.ClientRegistration, error) { return r.register(body, "192.0.2.1") })
	registered := 0
	for _, o := range outcomes {
		if o.Err == nil {
			registered++
			continue
		}
		if refused := brokertest.WantCode(t, o.Err, broker.CodeUnavailable); refused.RetryAfter == 0 {
			t.Error("no RetryAfter")
		}
	}
	if registered != 1 || strings.Count(r.Log.String(), "oauth.registration.max_clients") != 1 {
		t.Errorf("%d of 8 were registered, want 1; the log:\n%s", registered, r.Log)
	}

	// Another broker counts the clients that it finds.
	other := onHarness(t, r.Harness, func(c *registration.Config) { c.MaxClients = 3 })
	_, err := other.register(body, "192.0.2.1")
	brokertest.WantCode(t, err, broker.CodeUnavailable)

	// A client that an operator removes makes room.
	r.Clock.Advance(10 * time.Second)
	page, err := r.ListClients(t.Context(), operator.ClientQuery{})
	if err != nil || len(page.Clients) != 3 {
		t.Fatalf("%+v, %v", page, err)
	}
	if _, err := r.RemoveClient(t.Context(), page.Clients[0].ID, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	r.mustRegister(body)
	_, err = r.register(body, "192.0.2.1")
	brokertest.WantCode(t, err, broker.CodeUnavailable)
}

// Each removal leaves a record, so that registering and removing clients in turn must not fill the store.
func TestTheNumberOfRemovedClientsIsBounded(t *testing.T) {
	r := start(t, func(c *registration.Config) { c.MaxClients, c.PerMinute = 2, 1000 })
	removed := 0
	for ; removed < 20; removed++ {
		r.Clock.Advance(time.Minute)
		registered, err := r.register(body, "192.0.2.1")
		if err != nil {
			brokertest.WantCode(t, err, broker.CodeUnavailable)
			break
		}
		if err := r.clients.Remove(t.Context(), registered.ClientID, registered.Token, from("192.0.2.1")); err != nil {
			t.Fatal(err)
		}
	}
	if removed != 8 {
		t.Errorf("%d clients were registered and removed, want 8", removed)
	}
	r.Clock.Advance(brokertest.Policy.Idle)
	r.mustRegister(body)
}

func TestAnUnusedClientExpires(t *testing.T) {
	r := start(t, func(c *registration.Config) { c.MaxClients = 1 })
	registered := r.mustRegister(body)
	stored, err := r.Store.Get(t.Context(), directory.ClientKey(registered.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	r.Clock.Advance(unusedAfter - time.Second)
	if _, err := r.clients.Client(t.Context(), registered.ClientID, registered.Token, from("192.0.2.1")); err != nil {
		t.Error(err)
	}
	r.Clock.Advance(time.Second)
	if _, err := r.Store.Get(t.Context(), directory.ClientKey(registered.ClientID)); err == nil {
		t.Error("the store still has the client")
	}
	r.Put(t, directory.ClientKey(registered.ClientID), string(stored.Value)) // a store may round its expiry up
	_, err = r.clients.Client(t.Context(), registered.ClientID, registered.Token, from("192.0.2.1"))
	brokertest.WantCode(t, err, broker.CodeInvalidToken)
	brokertest.WantCode(t, r.clients.Remove(t.Context(), registered.ClientID, registered.Token, from("192.0.2.1")), broker.CodeInvalidToken)
	r.mustRegister(body)
}

func TestARemovedClientEndsWithItsGrants(t *testing.T) {
	r := start(t, nil)
	registered := r.mustRegister(body)
	uid := r.MustSignIn(t).UID
	secret := sha256.Sum256([]byte("g1"))
	ask := func(msg session.Message) session.Refusal {
		t.Helper()
		result, err := r.Path.Ask(t.Context(), commit.Message{UID: uid, SID: "g1", ClientID: registered.ClientID, Message: msg})
		if err != nil {
			t.Fatal(err)
		}
		return result.Effects.Refusal
	}
	if refusal := ask(session.Open{SID: "g1", SecretHash: secret[:], Channel: session.ChannelOAuth, ClientID: registered.ClientID, Offline: true}); refusal != "" {
		t.Fatal(refusal)
	}
	if err := r.clients.Remove(t.Context(), registered.ClientID, registered.Token, from("192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	if refusal := ask(session.Rotate{SecretHash: secret[:], Channel: session.ChannelOAuth, Generation: 1}); refusal != session.RefuseRevoked {
		t.Errorf("the refresh of a grant: %q", refusal)
	}
	events := r.Ledger.Events()
	record := r.record(registered.ClientID)
	if len(events) != 1 || events[0].Kind != revocation.KindClient || events[0].Value != registered.ClientID || events[0].Epoch != record.Epoch || record.Epoch == 0 {
		t.Errorf("%+v", events)
	}
	want := directory.ClientRecord{
		V: 1, ID: registered.ClientID, Removed: true, Epoch: record.Epoch,
		Registration: &directory.Registration{ExpiresAt: r.Clock.Now().Add(brokertest.Policy.Idle).Unix()},
	}
	if diff := cmp.Diff(want, record); diff != "" {
		t.Error(diff)
	}
	if r.audits("client_unregister") != 1 {
		t.Errorf("the audit log:\n%s", r.audit)
	}
	_, err := r.clients.Client(t.Context(), registered.ClientID, registered.Token, from("192.0.2.1"))
	brokertest.WantCode(t, err, broker.CodeInvalidToken)
	if err := r.SetClients(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.record(registered.ClientID)); diff != "" {
		t.Error("after a restart: " + diff)
	}
	r.Clock.Advance(brokertest.Policy.Idle)
	if _, err := r.Store.Get(t.Context(), directory.ClientKey(registered.ClientID)); err == nil {
		t.Error("the record of a removed client stays permanently")
	}
}

func TestOfTwoRemovalsOneIsDone(t *testing.T) {
	r := start(t, nil)
	registered := r.mustRegister(body)
	done := 0
	for _, o := range brokertest.AtOnce(2, func(int) (struct{}, error) {
		return struct{}{}, r.clients.Remove(context.Background(), registered.ClientID, registered.Token, from("192.0.2.1"))
	}) {
		if o.Err == nil {
			done++
			continue
		}
		brokertest.WantCode(t, o.Err, broker.CodeInvalidToken)
	}
	if done != 1 || len(r.Ledger.Events()) != 1 {
		t.Errorf("%d removals, %d events, want one of each", done, len(r.Ledger.Events()))
	}
}

func TestAWrongTokenAndAnUnknownClientGetOneAnswer(t *testing.T) {
	r := start(t, nil)
	registered, other := r.mustRegister(body), r.mustRegister(body)
	if _, err := r.AddClient(t.Context(), operator.NewClient{ID: "web", Public: true}, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	messages := map[string]bool{}
	for _, try := range [][2]string{
		{registered.ClientID, ""}, {registered.ClientID, other.Token}, {registered.ClientID, registered.Secret}, {registered.ClientID, registered.Token + "A"},
		{directory.NewRegisteredID(), registered.Token}, {"web", ""}, {"", ""}, {"registered-", registered.Token}, {"https://a.example/client", ""},
		{strings.ToUpper(registered.ClientID), registered.Token}, {registered.ClientID + "/..", registered.Token},
	} {
		_, err := r.clients.Client(t.Context(), try[0], try[1], from("192.0.2.1"))
		messages[brokertest.WantCode(t, err, broker.CodeInvalidToken).Message] = true
		messages[brokertest.WantCode(t, r.clients.Remove(t.Context(), try[0], try[1], from("192.0.2.1")), broker.CodeInvalidToken).Message] = true
	}
	if len(messages) != 1 || len(r.Ledger.Events()) != 0 || strings.Contains(r.audit.String(), registered.Token) {
		t.Errorf("%v", messages)
	}
}

func TestClientsOutliveARestart(t *testing.T) {
	r := start(t, nil)
	registered := r.mustRegister(body)
	before := r.record(registered.ClientID)
	for _, configured := range [][]broker.Client{{{ID: "a", Secret: "secret of a"}}, nil} {
		if err := r.SetClients(t.Context(), configured); err != nil {
			t.Fatal(err)
		}
	}
	again := onHarness(t, r.Harness, nil)
	if _, err := again.clients.Client(t.Context(), registered.ClientID, registered.Token, from("192.0.2.1")); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, r.record(registered.ClientID)); diff != "" {
		t.Error(diff)
	}
}

func TestNoClientRegistersWhileBrokersOfTheReleaseBeforeRun(t *testing.T) {
	version := 1
	r := start(t, nil, func(c *brokertest.Config) { c.StoreVersion = func() int { return version } })
	_, err := r.register(body, "192.0.2.1")
	brokertest.WantCode(t, err, broker.CodeUnavailable)
	version = 2
	r.mustRegister(body)
}

// The second client waits for the first one to be on disk, and then there are too many.
func TestOfTwoRegistrationsAtOnceAtTheLimitOneIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		race := &brokertest.Between{Prefix: directory.ClientKey(directory.RegisteredPrefix)}
		r := start(t, func(c *registration.Config) { c.MaxClients = 1 }, func(c *brokertest.Config) {
			race.Store = c.Store
			c.Store = race
		})
		second := make(chan error, 1)
		race.Do = func() {
			go func() {
				_, err := r.register(body, "192.0.2.2")
				second <- err
			}()
			synctest.Wait()
		}
		r.mustRegister(body)
		brokertest.WantCode(t, <-second, broker.CodeUnavailable)
	})
}
