package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/internal/setting"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
)

const adminToken = "t0ken"

// fakeOperators returns the answers that the test sets and records the last call as one line.
type fakeOperators struct {
	err     error
	revoked operator.Revoked
	empty   bool // pages are empty
	panics  any

	asked string
	req   broker.Request
}

func (f *fakeOperators) note(req broker.Request, format string, args ...any) {
	f.asked, f.req = fmt.Sprintf(format, args...), req
	if f.panics != nil {
		panic(f.panics)
	}
}

var moment = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func fullUser() operator.UserInfo {
	return operator.UserInfo{
		UID: "u1", Username: "ada", Accounts: []operator.Account{{Issuer: "urn:tokenbroker:local", Subject: "ada"}}, HasPassword: true,
		Attributes: map[string]any{"email": "ada@example.com"}, Roles: []string{"admin"}, Groups: []string{"staff"},
		CreatedAt: moment, LastLogin: moment, Epoch: 7,
	}
}

func (f *fakeOperators) user() (operator.UserInfo, error) {
	if f.empty {
		return operator.UserInfo{UID: "u1", Username: "ada", CreatedAt: moment}, f.err
	}
	return fullUser(), f.err
}

func (f *fakeOperators) AddUser(_ context.Context, user operator.NewUser, req broker.Request) (operator.UserInfo, error) {
	f.note(req, "add %q %q %v %v", user.Username, user.Password, user.Attributes, user.Roles)
	return f.user()
}

func (f *fakeOperators) User(_ context.Context, ref string) (operator.UserInfo, error) {
	f.note(broker.Request{}, "user %q", ref)
	return f.user()
}

func (f *fakeOperators) ListUsers(_ context.Context, q operator.UserQuery) (operator.UserPage, error) {
	f.note(broker.Request{}, "users %+v", q)
	if f.empty {
		return operator.UserPage{}, f.err
	}
	return operator.UserPage{Users: []operator.UserInfo{fullUser(), {UID: "u2", CreatedAt: moment}}, Next: "u2"}, f.err
}

func (f *fakeOperators) UpdateUser(_ context.Context, ref string, change operator.UserChange, req broker.Request) (operator.UserInfo, error) {
	f.note(req, "update %q %v %v %v %v", ref, change.Attributes, change.Attributes == nil, change.Roles, change.Roles == nil)
	return f.user()
}

func (f *fakeOperators) SetPassword(_ context.Context, ref, password string, keepSessions bool, req broker.Request) (operator.Revoked, error) {
	f.note(req, "password %q %q %v", ref, password, keepSessions)
	return f.revoked, f.err
}

func (f *fakeOperators) DisableUser(_ context.Context, ref string, req broker.Request) (operator.Revoked, error) {
	f.note(req, "disable %q", ref)
	return f.revoked, f.err
}

func (f *fakeOperators) EnableUser(_ context.Context, ref string, req broker.Request) (operator.UserInfo, error) {
	f.note(req, "enable %q", ref)
	return f.user()
}

func (f *fakeOperators) RemoveUser(_ context.Context, ref string, req broker.Request) (operator.Revoked, error) {
	f.note(req, "remove %q", ref)
	return f.revoked, f.err
}

func (f *fakeOperators) ListSessions(_ context.Context, q operator.SessionQuery) (operator.SessionPage, error) {
	f.note(broker.Request{}, "sessions %+v", q)
	if f.empty {
		return operator.SessionPage{}, f.err
	}
	return operator.SessionPage{Next: "s1", Sessions: []operator.SessionSummary{{
		SID: "s1", UID: "u1", ClientID: "demo-spa", Scope: "hello:read", Provider: "cognito", Device: "a browser", Channel: "cookie",
		CreatedAt: moment, LastUsed: moment, AuthTime: moment, ExpiresAt: moment, TokenExpires: moment, State: "live",
	}}}, f.err
}

func (f *fakeOperators) RevokeSession(_ context.Context, sid string, reason string, req broker.Request) (operator.Revoked, error) {
	f.note(req, "revoke sid %q %s", sid, reason)
	return f.revoked, f.err
}

func (f *fakeOperators) RevokeUser(_ context.Context, ref string, reason string, req broker.Request) (operator.Revoked, error) {
	f.note(req, "revoke sub %q %s", ref, reason)
	return f.revoked, f.err
}

func (f *fakeOperators) RevokeToken(_ context.Context, jti string, reason string, req broker.Request) (operator.Revoked, error) {
	f.note(req, "revoke jti %q %s", jti, reason)
	return f.revoked, f.err
}

func (f *fakeOperators) RevokeClient(_ context.Context, id string, reason string, req broker.Request) (operator.Revoked, error) {
	f.note(req, "revoke client %q %s", id, reason)
	return f.revoked, f.err
}

func (f *fakeOperators) RevokeEverybody(_ context.Context, reason string, req broker.Request) (operator.Revoked, error) {
	f.note(req, "revoke all %s", reason)
	return f.revoked, f.err
}

func (f *fakeOperators) RevokeBulk(_ context.Context, bulk operator.BulkRevocation, req broker.Request) (operator.BulkRevoked, error) {
	f.note(req, "bulk %s %q %s", bulk.Kind, bulk.Values, bulk.Reason)
	return operator.BulkRevoked{
		Kind: "sid", Recorded: 1, Changed: 1, Unknown: 1, UnknownValues: []string{"s2"}, Broadcast: f.revoked.Broadcast,
		ReceiptSummary: f.revoked.ReceiptSummary,
	}, f.err
}

func (f *fakeOperators) CheckRevocation(_ context.Context, kind revocation.Kind, value string) (operator.RevocationCheck, error) {
	f.note(broker.Request{}, "check %s %q", kind, value)
	if f.empty || f.err != nil {
		return operator.RevocationCheck{Kind: string(kind), Value: value}, f.err
	}
	page, _ := f.ListSessions(context.Background(), operator.SessionQuery{})
	f.note(broker.Request{}, "check %s %q", kind, value)
	return operator.RevocationCheck{
		Kind: string(kind), Value: value, Revoked: true, Session: &page.Sessions[0],
		Events: []revocation.Recorded{{Origin: "o1", Seq: 4, Event: revocation.Event{
			Kind: revocation.KindSub, Value: "u1", ExpiresAt: 1700000300, At: 1700000000, Reason: revocation.ReasonRevoked, Epoch: 9,
		}}},
	}, nil
}

func (f *fakeOperators) RevokeKey(_ context.Context, kid string, reason string, req broker.Request) (operator.KeyRevoked, error) {
	f.note(req, "revoke kid %q %s", kid, reason)
	return operator.KeyRevoked{Revoked: operator.Revoked{Kind: "kid", Value: "k1", Changed: true, Broadcast: f.revoked.Broadcast}, Purpose: "access", Algorithm: "ES256", Successor: "k2"}, f.err
}

func fullKey() lifecycle.KeyInfo {
	return lifecycle.KeyInfo{
		Label:   lifecycle.Label{KID: "k1", Purpose: "access", Algorithm: "ES256", State: "active"},
		Created: moment, Activates: moment, Retires: moment, LastTokenDies: moment,
		NextStep: "retires", NextStepAt: moment,
	}
}

// ListKeys, RotateKey and ResealKeys implement [admin.Keys].
func (f *fakeOperators) ListKeys(context.Context) (admin.KeyList, error) {
	f.note(broker.Request{}, "keys")
	return admin.KeyList{
		Now: moment, Keys: []lifecycle.KeyInfo{fullKey(), {Label: lifecycle.Label{KID: "m1", Purpose: "master", Algorithm: "HKDF-SHA256", State: "active"}, Created: moment}}, RotateEvery: "720h0m0s",
		Overdue: &admin.KeyOverdue{Purposes: []string{"access"}, Since: moment, OldKeyUntil: moment},
	}, f.err
}

func (f *fakeOperators) RotateKey(_ context.Context, rotation admin.KeyRotation, req broker.Request) (lifecycle.Rotation, error) {
	f.note(req, "rotate %s %q", rotation.Purpose, rotation.Algorithm)
	return lifecycle.Rotation{Purpose: lifecycle.Purpose(rotation.Purpose), Active: fullKey(), Next: fullKey(), Signs: moment, Scheduled: true, Changed: true}, f.err
}

func (f *fakeOperators) ResealKeys(_ context.Context, kekFile string, req broker.Request) (admin.KeysResealed, error) {
	f.note(req, "reseal %q", kekFile)
	return admin.KeysResealed{KEKFile: "/data/kek", Todo: "set keyring.kek_file"}, f.err
}

func fakeDocument(body string) httpapi.Document {
	return func() ([]byte, string, time.Duration) { return []byte(body), "tag", time.Minute }
}

// List implements [admin.Revocations].
func (f *fakeOperators) List(_ context.Context, after string, limit int) ([]revocation.Event, string, error) {
	f.note(broker.Request{}, "revocations %q %d", after, limit)
	if f.empty || f.err != nil {
		return nil, "", f.err
	}
	return []revocation.Event{{Kind: revocation.KindSub, Value: "u1", ExpiresAt: 1700000300, At: 1700000000, Reason: revocation.ReasonRevoked, Epoch: 9}}, "sub.u1", nil
}

func fullClient() operator.ClientInfo {
	grace := setting.Duration(0)
	return operator.ClientInfo{
		ID: "web-app", Name: "Web app", Dynamic: true, HasSecret: true, HasPreviousSecret: true, PreviousSecretUntil: moment,
		Grants: []string{"authorization_code"}, Scopes: []string{"openid"}, DefaultScopes: []string{"openid"}, Audiences: []string{"api"},
		RedirectURIs: []string{"https://a.example/"}, PostLogoutURIs: []string{"https://a.example/"}, Origins: []string{"https://a.example"}, FirstParty: true,
		AccessToken: setting.Day, SessionIdle: setting.Day, SessionAbsolute: setting.Day, RefreshGrace: &grace, JWKS: json.RawMessage("{}"), JWKSURI: "https://a.example/",
		Workloads: []operator.Workload{{Issuer: "https://ci.example", Subject: "s", Audience: "a", JWKSURI: "https://ci.example/keys"}}, CreatedAt: moment, Epoch: 7,
	}
}

func (f *fakeOperators) client() operator.ClientInfo {
	if f.empty {
		return operator.ClientInfo{ID: "web-app"}
	}
	return fullClient()
}

func (f *fakeOperators) AddClient(_ context.Context, client operator.NewClient, req broker.Request) (operator.ClientSecret, error) {
	settings, err := json.Marshal(client)
	f.note(req, "add client %s", settings)
	return operator.ClientSecret{ClientInfo: f.client(), Secret: "s3cret"}, errors.Join(f.err, err)
}

func (f *fakeOperators) RotateClientSecret(_ context.Context, id string, overlap time.Duration, req broker.Request) (operator.ClientSecret, error) {
	f.note(req, "rotate client %q %v", id, overlap)
	return operator.ClientSecret{ClientInfo: f.client(), Secret: "s3cret"}, f.err
}

func (f *fakeOperators) Client(_ context.Context, id string) (operator.ClientInfo, error) {
	f.note(broker.Request{}, "client %q", id)
	return f.client(), f.err
}

func (f *fakeOperators) ListClients(_ context.Context, q operator.ClientQuery) (operator.ClientPage, error) {
	f.note(broker.Request{}, "clients %+v", q)
	if f.empty {
		return operator.ClientPage{}, f.err
	}
	return operator.ClientPage{Clients: []operator.ClientInfo{fullClient(), {ID: "x"}}, Next: "x", Unreadable: 1}, f.err
}

func (f *fakeOperators) UpdateClient(_ context.Context, id string, change operator.ClientSettings, req broker.Request) (operator.ClientInfo, error) {
	settings, err := json.Marshal(change)
	f.note(req, "update client %q %s", id, settings)
	return f.client(), errors.Join(f.err, err)
}

func (f *fakeOperators) RemoveClient(_ context.Context, id string, req broker.Request) (operator.Revoked, error) {
	f.note(req, "remove client %q", id)
	return f.revoked, f.err
}

func fullStatus(context.Context) admin.Status {
	return admin.Status{
		Version: "v1", PID: 4, StartedAt: moment, Now: moment, Ready: "ready", Checks: []httpapi.Check{{Name: "store", OK: true, Degraded: true, Detail: "slow"}},
		Issuer: apitest.Own, Listen: "127.0.0.1:8080", AdminListen: "127.0.0.1:8081", DataDir: "/var/lib/tokenbroker", Origins: []string{apitest.SPA},
		Keys:      []lifecycle.Label{{KID: "k1", Purpose: "access", Algorithm: "ES256", State: "active"}},
		Providers: []admin.ProviderStatus{{Name: "cognito", Issuer: "https://idp.example", Ready: true}},
		Services:  []admin.ServiceStatus{{Service: "billing/ab12cd34", Source: "nats/billing", State: "fresh", Applied: 6, Lag: 1, AgeMS: 12, HeardMS: 300}},
		Mailboxes: map[string]int{"shards": 0},
	}
}

func adminConfig(f *fakeOperators) admin.Config {
	return admin.Config{
		Operators: f, Clients: f, Revocations: f, Keys: f, JWKS: fakeDocument(`{"keys":[],"store":"s1"}`), FeedJWKS: fakeDocument(`{"keys":[],"store":"s2"}`), Watching: f, Status: fullStatus, Token: adminToken, Logger: slog.New(slog.DiscardHandler),
		Readiness: func(context.Context) []httpapi.Check {
			return []httpapi.Check{{Name: "nats", OK: true, Degraded: true}}
		},
		Backup: func(_ context.Context, w io.Writer) error {
			if f.err != nil {
				return f.err
			}
			_, err := io.WriteString(w, "backup")
			return err
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") }),
	}
}

func newAdmin(f *fakeOperators, change ...func(*admin.Config)) http.Handler {
	cfg := adminConfig(f)
	for _, c := range change {
		c(&cfg)
	}
	return admin.New(cfg)
}

// adminRequest has the token and, with a body, the JSON type; headers are "Name: value"
// lines that replace those, or, as "Name: ", remove them.
func adminRequest(t *testing.T, method, path, body string, headers ...string) *http.Request {
	t.Helper()
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:8081"+path, rd)
	r.Header.Set("Authorization", "Bearer "+adminToken)
	if body != "" || method == http.MethodPost || method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Set(name, value)
		}
	}
	return r
}

func callAdmin(t *testing.T, h http.Handler, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	return apitest.Serve(h, adminRequest(t, method, path, body, headers...))
}
