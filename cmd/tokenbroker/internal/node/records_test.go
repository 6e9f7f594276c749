package node_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/registration"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// newFixtures writes the fixtures that are missing. It never changes one: every version of the program reads those of all earlier
// versions. If the form of a record changes, the new form gets a directory of its own.
var newFixtures = flag.Bool("fixtures", false, "write the missing fixtures of records into testdata")

// fixtureDirs are the directories with fixtures, by the kind of store, the newest last.
var fixtureDirs = map[string][]string{
	"alone":  {"testdata/records1/alone", "testdata/records2/alone"},
	"shared": {"testdata/records1/shared", "testdata/records2/shared"},
}

// fixtureTime is when the fixtures were written, by their broker's clock. It is so late that the embedded engine, which uses the
// machine's clock, does not take a record for an expired one.
var fixtureTime = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)

// fixtureKEK sealed the keyring.
var fixtureKEK = bytes.Repeat([]byte{5}, keyring.KEKSize)

// secrets are what users have, and what the fixtures contain about it.
type secrets struct {
	UID     string `json:"uid"`      // of ada
	CorpUID string `json:"corp_uid"` // of the user of the provider
	SID     string `json:"sid"`      // of ada's session
	Refresh string `json:"refresh"`  // its refresh token
	CSRF    string `json:"csrf"`
	Ended   string `json:"ended"` // the refresh token of a session that was logged off, and its sid
	EndSID  string `json:"end_sid"`
	EndCSRF string `json:"end_csrf"`
	BadKID  string `json:"bad_kid"` // a compromised key
	JTI     string `json:"jti"`     // of a revoked token

	// The sids of grants of ada, since version 2: one that ends with her session, and one that does not.
	Grant        string `json:"grant,omitempty"`
	OfflineGrant string `json:"offline_grant,omitempty"`

	// Clients that registered themselves, since version 2: one with its registration access token, and one that was removed.
	Registered      string `json:"registered,omitempty"`
	RegisteredToken string `json:"registered_token,omitempty"`
	Unregistered    string `json:"unregistered,omitempty"`
}

// grantSecret returns the hash of the secret of a grant.
func grantSecret(sid string) []byte {
	sum := sha256.Sum256([]byte(sid))
	return sum[:]
}

// recordRig is a broker whose records are examined.
type recordRig struct {
	*lab
	shared *memstore.Engine // nil for the embedded store
	began  time.Time
}

func newRecordRig(t *testing.T, kind string) *recordRig {
	r := &recordRig{lab: newLab(t), began: time.Now()}
	r.startNATS()
	if kind == "shared" {
		r.shared = memstore.NewEngine(r.wall)
	}
	return r
}

func (r *recordRig) wall() time.Time { return fixtureTime.Add(time.Since(r.began)) }

// start starts the broker.
func (r *recordRig) start() *node.Node {
	r.t.Helper()
	c := r.config()
	c.KEK, c.Wall, c.PublicURL, c.Listen = fixtureKEK, r.wall, "https://broker.example", "127.0.0.1:0"
	c.Logger = slog.New(slog.DiscardHandler)
	if r.shared != nil {
		c.Engine, c.Name = r.shared.Open(nil), "a"
	}
	c.Providers = func(string, node.Transport) (map[string]node.Provider, error) {
		return map[string]node.Provider{"corp": corpProvider{}}, nil
	}
	n, err := node.Start(r.t.Context(), c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.node = n
	r.t.Cleanup(r.stopBroker)
	return n
}

// corpProvider proves what an id token names.
type corpProvider struct{ believingProvider }

func (p corpProvider) VerifyTokens(_ context.Context, tokens broker.UpstreamTokens) (broker.Identity, error) {
	return broker.Identity{
		Provider: "corp", Issuer: p.Issuer(), Subject: "sub-1", Username: "grace", Email: "grace@example.org", EmailVerified: true, Groups: []string{"staff"},
		Attributes: map[string]any{"email": "grace@example.org"}, ACR: "urn:mfa", AMR: []string{"pwd", "otp"}, UpstreamSID: "up-1", AuthTime: fixtureTime,
		TokenHash: tokens.IDToken, Proven: true, ExpiresAt: fixtureTime.Add(time.Hour),
	}, nil
}

var fixtureRequest = broker.Request{Addr: "192.0.2.7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64)", ID: "r1", Operator: "uid 0", Note: "fixture"}

// use runs the broker through its operations and stops it.
func (r *recordRig) use() (s secrets) {
	r.t.Helper()
	ctx, n := r.t.Context(), r.start()
	ok := func(what string, err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatalf("%s: %v", what, err)
		}
	}
	ops, users := n.Operators(), n.EndUsers()
	signIn := func(name string) *broker.Grant {
		r.t.Helper()
		g, err := users.SignIn(ctx, name, "correct horse", fixtureRequest)
		ok("sign-in", err)
		return g
	}
	for _, name := range []string{"ada", "bob"} {
		u, err := ops.AddUser(ctx, operator.NewUser{Username: name, Password: "correct horse", Roles: []string{"admin"}, Attributes: map[string]any{"name": "A. Lovelace", "level": 3}}, fixtureRequest)
		ok("adding a user", err)
		if name == "ada" {
			s.UID = u.UID
		}
	}
	signIn("bob")
	_, err := ops.RevokeEverybody(ctx, "revoked", fixtureRequest)
	ok("revoking all", err)
	signIn("bob")
	_, err = ops.DisableUser(ctx, "bob", fixtureRequest)
	ok("disabling a user", err)
	clients := r.config().Clients
	ok("adding a client", ops.SetClients(ctx, append(clients, broker.Client{ID: "gone", Secret: strings.Repeat("s", 43)})))
	ok("removing a client", ops.SetClients(ctx, clients))
	_, err = ops.RevokeClient(ctx, service, "revoked", fixtureRequest)
	ok("revoking a client", err)
	ended := signIn("ada")
	s.Ended, s.EndCSRF, s.EndSID = ended.RefreshToken, ended.CSRFToken, ended.SID
	_, err = users.LogOff(ctx, ended.RefreshToken, ended.CSRFToken, fixtureRequest)
	ok("log-off", err)
	_, err = users.ExchangeTokens(ctx, "corp", broker.UpstreamTokens{IDToken: "first"}, fixtureRequest)
	ok("exchange", err)
	corp, err := users.ExchangeTokens(ctx, "corp", broker.UpstreamTokens{IDToken: "second"}, fixtureRequest)
	ok("exchange", err)
	s.CorpUID = corp.UID
	s.JTI = "0f8fad5b-d9cb-469f-a165-70867728950e"
	_, err = ops.RevokeToken(ctx, s.JTI, "revoked", fixtureRequest)
	ok("revoking a token", err)
	keys, err := node.OperatorKeys(n).ListKeys(ctx)
	ok("listing keys", err)
	for _, k := range keys.Keys {
		if k.Purpose == "access" && k.State == "active" {
			s.BadKID = k.KID
		}
	}
	_, err = ops.RevokeKey(ctx, s.BadKID, "", fixtureRequest)
	ok("revoking a key", err)
	g := signIn("ada")
	for range 3 {
		g, err = users.Refresh(ctx, g.RefreshToken, g.CSRFToken, fixtureRequest)
		ok("refresh", err)
	}
	s.SID, s.Refresh, s.CSRF = g.SID, g.RefreshToken, g.CSRFToken
	r.authorize(&s)
	for _, c := range registered {
		_, err := ops.AddClient(ctx, c, fixtureRequest)
		ok("registering a client", err)
	}
	_, err = ops.RotateClientSecret(ctx, registered[0].ID, time.Hour, fixtureRequest)
	ok("rotating a secret", err)
	_, err = ops.RevokeClient(ctx, documentID, "revoked", fixtureRequest)
	ok("revoking a client with a metadata document", err)
	r.register(&s)
	r.stopBroker()
	if r.shared != nil {
		r.programs()
	}
	return s
}

// ask sends a message of ada.
func (r *recordRig) ask(s secrets, sid string, msg session.Message) session.Effects {
	r.t.Helper()
	result, err := node.Path(r.node).Ask(r.t.Context(), commit.Message{UID: s.UID, SID: sid, ClientID: service, Message: msg})
	if err != nil {
		r.t.Fatal(err)
	}
	return result.Effects
}

// registered are clients that operators register, with all of their settings.
var registered = []operator.NewClient{
	{ID: "secret", ClientSettings: operator.ClientSettings{
		Name: new("A client"), Scopes: []string{"openid", "hello:read"}, DefaultScopes: []string{"hello:read"}, Audiences: []string{"demo-api"},
		Grants:       []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken},
		RedirectURIs: []string{"https://app.example/callback"}, PostLogoutURIs: []string{"https://app.example/"}, Origins: []string{"https://app.example"},
		FirstParty: new(true), AccessToken: new("1m"), SessionIdle: new("1h"), SessionAbsolute: new("2h"), RefreshGrace: new("5s"),
	}},
	{ID: "keys", ClientSettings: operator.ClientSettings{
		Grants: []string{broker.GrantClientCredentials}, Scopes: []string{"hello:read"},
		JWKS:      map[string]any{"keys": []any{map[string]any{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}},
		Workloads: []operator.Workload{{Issuer: "https://ci.example", Subject: "job", Audience: "https://broker.example", JWKSURI: "https://ci.example/keys"}},
	}},
	{ID: "uri", ClientSettings: operator.ClientSettings{
		Grants: []string{broker.GrantClientCredentials}, Scopes: []string{"hello:read"}, JWKSURI: new("https://uri.example/keys"),
	}},
}

// documentID is a client whose id is the URL of its metadata document.
const documentID = "https://app.example/client.json"

// registrations returns the use cases of clients that register themselves.
func (r *recordRig) registrations() *registration.Service {
	return registration.New(registration.Config{
		Path: node.Path(r.node), Store: node.Records(r.node), Clock: fixedClock{}, Limits: directory.ClientLimits{Policy: session.DefaultPolicy},
		Policy:    broker.ClientPolicy{Scopes: []string{"openid", "hello:read"}, RefreshTokens: true},
		PerMinute: 10, MaxClients: 10, UnusedAfter: 24 * time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
}

// fixedClock is the clock of clients that register themselves.
type fixedClock struct{}

func (fixedClock) Now() time.Time           { return fixtureTime }
func (fixedClock) RecordedTimeFloor() int64 { return 0 }

// register registers clients as they do it themselves, and removes one.
func (r *recordRig) register(s *secrets) {
	r.t.Helper()
	clients := r.registrations()
	for _, body := range []string{
		`{"client_name":"App","application_type":"web","redirect_uris":["https://app.example/cb"],"grant_types":["authorization_code","refresh_token"],"post_logout_redirect_uris":["https://app.example/"]}`,
		`{"redirect_uris":["com.example.app:/cb"],"token_endpoint_auth_method":"none"}`,
	} {
		made, err := clients.Register(r.t.Context(), json.RawMessage(body), "", fixtureRequest)
		if err != nil {
			r.t.Fatal(err)
		}
		if s.Registered == "" {
			s.Registered, s.RegisteredToken = made.ClientID, made.Token
			continue
		}
		s.Unregistered = made.ClientID
		if err := clients.Remove(r.t.Context(), made.ClientID, made.Token, fixtureRequest); err != nil {
			r.t.Fatal(err)
		}
	}
}

// selfDescribed checks the clients that describe themselves.
func (r *recordRig) selfDescribed(s secrets) {
	r.t.Helper()
	ctx, ops := r.t.Context(), r.node.Operators()
	made, err := r.registrations().Client(ctx, s.Registered, s.RegisteredToken, fixtureRequest)
	if err != nil || made.Metadata["client_name"] != "App" || made.Metadata["application_type"] != "web" || made.Metadata["token_endpoint_auth_method"] != "client_secret_basic" {
		r.t.Errorf("the registered client: %+v, %v", made, err)
	}
	if info, err := ops.Client(ctx, s.Registered); err != nil || info.Class != broker.ClassRegistered || !info.ExpiresAt.Equal(fixtureTime.Add(24*time.Hour)) {
		r.t.Errorf("the registered client: %+v, %v", info, err)
	}
	if _, err := ops.Client(ctx, s.Unregistered); err == nil {
		r.t.Error("the registered client that was removed is known")
	}
	if info, err := ops.Client(ctx, documentID); err != nil || info.Class != broker.ClassDocument || info.Epoch == 0 {
		r.t.Errorf("the client with a document: %+v, %v", info, err)
	}
	for _, id := range []string{s.Unregistered, documentID} {
		if check, err := ops.CheckRevocation(ctx, revocation.KindClient, id); err != nil || !check.Revoked {
			r.t.Errorf("%s: %+v, %v", id, check, err)
		}
	}
}

// authorize makes the grants and a consent.
func (r *recordRig) authorize(s *secrets) {
	r.t.Helper()
	eventually(r.t, "the store has the version with grants", func() bool { return node.Path(r.node).GrantsReady() == nil })
	s.Grant, s.OfflineGrant = broker.NewID().String(), broker.NewID().String()
	for _, sid := range []string{s.Grant, s.OfflineGrant} {
		if eff := r.ask(*s, sid, session.Open{
			SID: sid, SecretHash: grantSecret(sid), Channel: session.ChannelOAuth, ClientID: service, Scope: "openid hello:read", AuthTime: fixtureTime.Unix(), Device: fixtureRequest.UserAgent,
			Audience: []string{"demo-api", "https://api.example/"}, BrowserSID: s.SID, Offline: sid == s.OfflineGrant,
			UserInfoClaims: []string{"email"}, IDTokenClaims: []string{"name"}, AccessS: 60, IdleS: 3600, AbsoluteS: 7200, GraceS: 300,
			ClientEpoch: math.MaxInt64, // the client was revoked before
		}); eff.Refusal != "" {
			r.t.Fatalf("opening a grant: %s", eff.Refusal)
		}
	}
	r.ask(*s, "", session.Allow{ClientID: service, Scopes: []string{"openid", "hello:read"}})
}

// programs lets programs that share the store write their records. Those of a maintenance and of a migration prevent later starts.
func (r *recordRig) programs() {
	r.t.Helper()
	ctx := r.t.Context()
	join := func(name, maintenance string) *origins.Run {
		r.t.Helper()
		run, err := origins.Join(ctx, origins.Config{
			Engine: r.shared.Open(nil), Name: name, Address: "192.0.2.1:443", Build: "fixture", KEK: keyring.Fingerprint(fixtureKEK), Issuer: "https://broker.example",
			AccessLife: 10 * time.Minute, Outdated: func() []string { return []string{"billing"} }, Maintenance: maintenance, Wall: r.wall, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			r.t.Fatal(err)
		}
		return run
	}
	ok := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	b := join("b", "")
	ok(b.Tick(ctx))
	if _, collects, err := b.Collector(ctx); err != nil || !collects {
		r.t.Fatal("no collector", err)
	}
	ok(b.Commit(ctx, []store.Change{{Writes: []store.Write{{Key: "ledger.time_floor", Value: []byte(`{"v":1,"time_floor":2524600000}`)}}}}, nil)[0])
	ok(b.Leave(ctx))
	m := join("tokenbroker migrate", origins.Migration)
	ok(m.Replace(ctx, "an id"))
	ok(m.Move(ctx, origins.Moved{To: "the etcd prefix tokenbroker/", AtMS: fixtureTime.UnixMilli(), ID: "an id"}))
	p := join("tokenbroker migrate", origins.Migration)
	ok(p.Replace(ctx, "an id"))
	ok(p.Leave(ctx))
}

// records returns the records of the store by kind.
func (r *recordRig) records() map[string][]store.Write {
	r.t.Helper()
	all := map[string][]store.Write{}
	add := func(w store.Write) error {
		kind := kindOf(w.Key)
		all[kind] = append(all[kind], store.Write{Key: w.Key, Value: slices.Clone(w.Value), ExpiresAt: w.ExpiresAt})
		return nil
	}
	var err error
	if r.shared != nil {
		err = r.shared.Open(nil).Each(r.t.Context(), "", add)
	} else {
		r.onDisk(func(s *badgerstore.Store) { err = s.Each(r.t.Context(), "", add) })
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// onDisk opens the embedded store of the stopped broker.
func (r *recordRig) onDisk(do func(*badgerstore.Store)) {
	r.t.Helper()
	s, err := badgerstore.Open(badgerstore.Config{Dir: node.StoreDir(r.dir)})
	if err != nil {
		r.t.Fatal(err)
	}
	do(s)
	if err := s.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// kindOf returns the kind of a record: the part of its key that is the same for all of them.
func kindOf(key string) string {
	parts := strings.Split(key, ".")
	if n := 2; (parts[0] == "ledger" || parts[0] == "once") && len(parts) >= n {
		return strings.Join(parts[:n], ".")
	}
	return parts[0]
}

// fixture is a stored record in a file.
type fixture struct {
	Key       string `json:"key"`
	Text      string `json:"text,omitempty"`
	Base64    string `json:"base64,omitempty"`
	ExpiresAt int64  `json:"expires_at,omitempty"`
}

func (f fixture) write(t *testing.T) store.Write {
	t.Helper()
	w := store.Write{Key: f.Key, Value: []byte(f.Text), ExpiresAt: f.ExpiresAt}
	if f.Base64 != "" {
		var err error
		if w.Value, err = base64.StdEncoding.DecodeString(f.Base64); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// writeNew writes a file as JSON unless it exists.
func writeNew(t *testing.T, path string, content any) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Logf("%s exists and is not changed", path)
		return
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := errors.Join(e.Encode(content), os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, out.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readFixtures returns the fixtures of a directory by kind.
func readFixtures(t *testing.T, dir string) map[string][]store.Write {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no fixtures in", dir, err)
	}
	all := map[string][]store.Write{}
	for _, file := range files {
		kind := strings.TrimSuffix(filepath.Base(file), ".json")
		if kind == "secrets" {
			continue
		}
		var fixtures []fixture
		readJSON(t, file, &fixtures)
		for _, f := range fixtures {
			all[kind] = append(all[kind], f.write(t))
		}
	}
	return all
}

// TestEachKindOfRecordHasAFixture runs a broker through its operations: each kind of record that it writes, and each member of it,
// is in a fixture.
func TestEachKindOfRecordHasAFixture(t *testing.T) {
	t.Parallel()
	for kind, dirs := range fixtureDirs {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := newRecordRig(t, kind)
			s := r.use()
			written := r.records()
			if *newFixtures {
				dir := dirs[len(dirs)-1]
				for kind, records := range written {
					fixtures := make([]fixture, len(records))
					for i, w := range records {
						fixtures[i] = fixture{Key: w.Key, ExpiresAt: w.ExpiresAt, Text: string(w.Value)}
						if !utf8.Valid(w.Value) {
							fixtures[i].Text, fixtures[i].Base64 = "", base64.StdEncoding.EncodeToString(w.Value)
						}
					}
					writeNew(t, filepath.Join(dir, kind+".json"), fixtures)
				}
				writeNew(t, filepath.Join(dir, "secrets.json"), s)
			}
			known := map[string]map[string]bool{}
			for _, dir := range dirs {
				for kind, records := range readFixtures(t, dir) {
					known[kind] = membersOf(records, known[kind])
				}
			}
			for kind, records := range written {
				if known[kind] == nil {
					t.Errorf("records of the kind %s have no fixture: run this test with -fixtures", kind)
					continue
				}
				for member := range membersOf(records, nil) {
					if !known[kind][member] {
						t.Errorf("no fixture of the kind %s has the member %s: add a directory to fixtureDirs, and run this test with -fixtures", kind, member)
					}
				}
			}
		})
	}
}

// membersOf adds the paths of the members of all records that are JSON to known.
func membersOf(records []store.Write, known map[string]bool) map[string]bool {
	if known == nil {
		known = map[string]bool{}
	}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		known[path] = true
		switch v := value.(type) {
		case map[string]any:
			for name, member := range v {
				walk(path+"."+name, member)
			}
		case []any:
			for _, element := range v {
				walk(path+"[]", element)
			}
		}
	}
	for _, w := range records {
		var value any
		if json.Unmarshal(w.Value, &value) == nil {
			walk("", value)
		}
	}
	return known
}

// TestRecordsOfEarlierVersionsAreRead starts a broker with the records of a fixture. Whatever they say holds.
func TestRecordsOfEarlierVersionsAreRead(t *testing.T) {
	t.Parallel()
	for kind, dirs := range fixtureDirs {
		for _, dir := range dirs {
			t.Run(filepath.Base(filepath.Dir(dir))+"/"+kind, func(t *testing.T) {
				t.Parallel()
				r := newRecordRig(t, kind)
				records := readFixtures(t, dir)
				r.programsOf(records, speaksOf[filepath.Base(filepath.Dir(dir))])
				delete(records, origins.MaintenanceKey) // with which no broker starts
				delete(records, origins.MovedKey)
				r.fill(slices.Concat(slices.Collect(maps.Values(records))...))
				var s secrets
				readJSON(t, filepath.Join(dir, "secrets.json"), &s)
				r.holds(s)
			})
		}
	}
}

// fill writes records into the empty store.
func (r *recordRig) fill(records []store.Write) {
	r.t.Helper()
	change := []store.Change{{Writes: records}}
	var err error
	if r.shared != nil {
		_, errs := r.shared.Open(nil).CommitFenced(r.t.Context(), store.Fence{}, change, nil)
		err = errs[0]
	} else {
		if err := os.MkdirAll(node.StoreDir(r.dir), 0o700); err != nil {
			r.t.Fatal(err)
		}
		r.onDisk(func(s *badgerstore.Store) { err = s.Commit(r.t.Context(), change, nil)[0] })
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// speaksOf is the highest version that the programs spoke which wrote the fixtures of a directory.
var speaksOf = map[string]int{"records1": 1, "records2": 2}

// programsOf checks the records of programs that have a store for themselves, and of brokers.
func (r *recordRig) programsOf(records map[string][]store.Write, speaks int) {
	r.t.Helper()
	if r.shared == nil {
		return
	}
	engine := memstore.NewEngine(r.wall).Open(nil)
	for _, kind := range []string{origins.MaintenanceKey, origins.MovedKey, origins.VersionKey, "origin"} {
		if _, errs := engine.CommitFenced(r.t.Context(), store.Fence{}, []store.Change{{Writes: records[kind]}}, nil); errs[0] != nil {
			r.t.Fatal(errs[0])
		}
	}
	m, err := origins.ReadMaintenance(r.t.Context(), engine)
	if err != nil || m.What != "migrate" || m.Run == "" || !m.Replaces || m.Of != "an id" {
		r.t.Errorf("maintenance: %+v %v", m, err)
	}
	moved, err := origins.ReadMoved(r.t.Context(), engine)
	if err != nil || moved != (origins.Moved{V: 1, To: "the etcd prefix tokenbroker/", AtMS: fixtureTime.UnixMilli(), ID: "an id"}) {
		r.t.Errorf("moved: %+v %v", moved, err)
	}
	if v, err := origins.ReadVersion(r.t.Context(), engine); err != nil || v.MinReader != speaks {
		r.t.Errorf("version: %+v %v", v, err)
	}
	all, err := origins.List(r.t.Context(), engine)
	if err != nil || len(all) == 0 {
		r.t.Fatalf("%d origins, %v", len(all), err)
	}
	for _, o := range all {
		if !o.Ended || o.Last == 0 || o.Name == "" || o.KEK != keyring.Fingerprint(fixtureKEK) || o.Speaks != [2]int{1, speaks} || o.ClockMS < fixtureTime.UnixMilli() || o.SinceMS == 0 || o.Joined == 0 {
			r.t.Errorf("origin: %+v", o)
		}
		if o.Name == "a" && (o.Head == 0 || o.N == 0 || o.Issuer != "https://broker.example" || o.AccessS == 0) {
			r.t.Errorf("the origin of the broker: %+v", o)
		}
		if o.Name == "b" && !slices.Equal(o.Outdated, []string{"billing"}) {
			r.t.Errorf("the origin with outdated services: %+v", o)
		}
	}
}

// holds checks that the broker knows what the records say.
func (r *recordRig) holds(s secrets) {
	r.t.Helper()
	ctx, n := r.t.Context(), r.start()
	ops, users := n.Operators(), n.EndUsers()
	code := func(what string, err error, want broker.Code) {
		r.t.Helper()
		var refusal *broker.Error
		if want == "" && err != nil || want != "" && (!errors.As(err, &refusal) || refusal.Code != want) {
			r.t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	g, err := users.Refresh(ctx, s.Refresh, s.CSRF, fixtureRequest)
	code("refresh", err, "")
	if err == nil && (g.SID != s.SID || g.UID != s.UID) {
		r.t.Errorf("the refresh is of %s %s, want %s %s", g.UID, g.SID, s.UID, s.SID)
	}
	_, err = users.Refresh(ctx, s.Ended, s.EndCSRF, fixtureRequest)
	code("refresh of the session that was logged off", err, broker.CodeSessionEnded)
	g, err = users.SignIn(ctx, "ada", "correct horse", fixtureRequest)
	code("sign-in", err, "")
	if err == nil && g.UID != s.UID {
		r.t.Errorf("ada is %s, was %s", g.UID, s.UID)
	}
	_, err = ops.AddUser(ctx, operator.NewUser{Username: "ADA", Password: "correct horse"}, fixtureRequest)
	code("another user of this name", err, broker.CodeUserExists)
	_, err = users.SignIn(ctx, "bob", "correct horse", fixtureRequest)
	code("sign-in of the disabled user", err, broker.CodeInvalidCredentials)
	_, err = users.ExchangeTokens(ctx, "corp", broker.UpstreamTokens{IDToken: "first"}, fixtureRequest)
	code("exchange of a used token", err, broker.CodeTokenUsed)
	g, err = users.ExchangeTokens(ctx, "corp", broker.UpstreamTokens{IDToken: "third"}, fixtureRequest)
	code("exchange", err, "")
	if err == nil && g.UID != s.CorpUID {
		r.t.Errorf("the user of the provider is %s, was %s", g.UID, s.CorpUID)
	}
	user, err := ops.User(ctx, s.UID)
	if err != nil || user.Username != "ada" || !slices.Equal(user.Roles, []string{"admin"}) || user.Attributes["name"] != "A. Lovelace" {
		r.t.Errorf("user: %+v %v", user, err)
	}
	clients := n.OAuthClients()
	if _, err := clients.AuthenticateClient(ctx, broker.ClientCredentials{ID: service, Secrets: []string{secret}}, fixtureRequest); err != nil {
		r.t.Errorf("the client: %v", err)
	}
	if _, err := clients.AuthenticateClient(ctx, broker.ClientCredentials{ID: "gone", Secrets: []string{strings.Repeat("s", 43)}}, fixtureRequest); err == nil {
		r.t.Error("the removed client is accepted")
	}
	for _, c := range []struct {
		kind  revocation.Kind
		value string
	}{{revocation.KindSID, s.EndSID}, {revocation.KindJTI, s.JTI}, {revocation.KindClient, service}, {revocation.KindAll, ""}, {revocation.KindKID, s.BadKID}} {
		check, err := ops.CheckRevocation(ctx, c.kind, c.value)
		if err != nil || !check.Revoked {
			r.t.Errorf("%s %s: %+v %v", c.kind, c.value, check, err)
		}
	}
	keys, err := node.OperatorKeys(n).ListKeys(ctx)
	bad := func(k lifecycle.KeyInfo) bool { return k.KID == s.BadKID && k.State == lifecycle.StateCompromised }
	if err != nil || !slices.ContainsFunc(keys.Keys, bad) {
		r.t.Errorf("keys: %+v %v", keys, err)
	}
	if s.Registered != "" {
		r.selfDescribed(s)
	}
	if s.Grant != "" {
		r.granted(s)
		for _, c := range registered {
			got, err := ops.Client(ctx, c.ID)
			if err != nil || !got.Dynamic || got.HasPreviousSecret != (c.ID == "secret") || !slices.Equal(got.Scopes, c.Scopes) || !slices.Equal(got.Grants, c.Grants) ||
				!slices.Equal(got.RedirectURIs, c.RedirectURIs) {
				r.t.Errorf("client %s: %+v, %v", c.ID, got, err)
			}
		}
	}
}

// granted checks the grants and the consent.
func (r *recordRig) granted(s secrets) {
	r.t.Helper()
	refresh := func(sid string) session.Effects {
		return r.ask(s, sid, session.Rotate{SecretHash: grantSecret(sid), Channel: session.ChannelOAuth, ClientID: service, Generation: 1})
	}
	for _, sid := range []string{s.Grant, s.OfflineGrant} {
		eff := refresh(sid)
		if eff.Refusal != "" || eff.ExpiresAt-eff.IssuedAt != 60 || !slices.Equal(eff.Session.Audience, []string{"demo-api", "https://api.example/"}) ||
			!slices.Equal(eff.Session.UserInfoClaims, []string{"email"}) || !slices.Equal(eff.Session.IDTokenClaims, []string{"name"}) || eff.Session.GraceS != 300 {
			r.t.Errorf("refresh of the grant %s: %+v", sid, eff)
		}
		if c := eff.User.Consents; len(c) != 1 || c[0].ClientID != service || !slices.Equal(c[0].Scopes, []string{"openid", "hello:read"}) {
			r.t.Errorf("consents: %+v", c)
		}
	}
	if eff := r.ask(s, s.SID, session.Revoke{Reason: revocation.ReasonRevoked}); len(eff.Ended) != 1 || eff.Ended[0].SID != s.Grant {
		r.t.Errorf("ended with the browser session: %+v", eff.Ended)
	}
	if eff := refresh(s.Grant); eff.Refusal != session.RefuseRevoked {
		r.t.Errorf("refresh of the grant whose browser session has ended: %q", eff.Refusal)
	}
	if eff := refresh(s.OfflineGrant); eff.Refusal != "" {
		r.t.Errorf("refresh of the offline grant: %q", eff.Refusal)
	}
}
