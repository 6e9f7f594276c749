package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/doctor"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const spa = "http://127.0.0.1:5173"

// publicKey is the key of RFC 7517, appendix A.1.
const publicKey = `{"kty":"EC","kid":"a","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`

// world answers for a broker's surroundings. They are in order until a test changes one of them.
type world struct {
	issuer  string // what the discovery document names
	keys    string
	cache   string
	cookie  string
	allowed string
	date    time.Time
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h := rw.Header()
	if !w.date.IsZero() {
		h.Set("Date", w.date.UTC().Format(http.TimeFormat))
	}
	base := "http://" + r.Host
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		name := w.issuer
		if name == "" {
			name = base
		}
		_, _ = fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":%[3]q,"token_endpoint":%[3]q}`, name, base+"/jwks", base+"/x")
	case "/jwks", "/revocations/jwks.json":
		h.Set("Cache-Control", w.cache)
		_, _ = fmt.Fprint(rw, w.keys)
	case "/auth/logoff/":
		h.Set("Set-Cookie", w.cookie)
		_, _ = fmt.Fprint(rw, "{}")
	case "/auth/refresh/":
		h.Set("Access-Control-Allow-Origin", w.allowed)
		h.Set("Access-Control-Allow-Credentials", "true")
		rw.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(rw, r)
	}
}

// idp returns a provider that is checked with the broker's code; via may be nil.
func idp(issuer string, via http.RoundTripper) doctor.Upstream {
	return doctor.Upstream{Name: "idp", Issuer: issuer, Check: func(ctx context.Context) (upstream.KeyReport, error) {
		p, err := upstream.New(upstream.Config{Name: "idp", Issuer: issuer, ClientID: "doctor", Transport: via})
		if err != nil {
			return upstream.KeyReport{}, err
		}
		defer p.Close()
		return p.Check(ctx)
	}}
}

// look runs all checks on a world and returns the findings by their checks.
func look(t *testing.T, spoil func(*world, *doctor.Subject)) map[string]doctor.Finding {
	t.Helper()
	w := &world{
		keys: `{"keys":[` + publicKey + `]}`, cache: "public, max-age=300", allowed: spa,
		cookie: "refresh_cookie=; Path=/auth; Max-Age=0; HttpOnly; SameSite=Strict",
	}
	srv := httptest.NewServer(w)
	defer srv.Close()
	client := srv.Client()
	defer client.CloseIdleConnections()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := doctor.Subject{
		Issuer: srv.URL, DataDir: dir, Origins: []string{spa}, Client: client,
		Providers: []doctor.Upstream{idp(srv.URL, nil)},
		Status:    &admin.Status{PID: 7, Ready: "ready", Now: time.Now(), NATS: admin.NATSStatus{URL: "nats://127.0.0.1:4222"}},
	}
	if spoil != nil {
		spoil(w, &s)
	}
	found := map[string]doctor.Finding{}
	for _, f := range doctor.Run(t.Context(), s) {
		found[f.Check] = f
		if f.Level != doctor.OK && f.Hint == "" {
			t.Errorf("%s is %s without a hint", f.Check, f.Level)
		}
	}
	return found
}

// A run ends in time even if no peer answers.
func TestRunIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		s := doctor.Subject{Issuer: "http://broker.test", DataDir: t.TempDir() + "/none", Client: &http.Client{Transport: silent, Timeout: 5 * time.Second}}
		for range 50 {
			s.Providers = append(s.Providers, idp("https://idp.test", silent))
		}
		began := time.Now()
		findings := doctor.Run(t.Context(), s)
		if took := time.Since(began); took > 31*time.Second || len(findings) < 50 {
			t.Errorf("%d findings in %s", len(findings), took)
		}
		time.Sleep(10 * time.Second) // the last requests end at their own time-outs
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestHealthyBrokerHasNoFailures(t *testing.T) {
	found := look(t, nil)
	for _, check := range []string{"server", "issuer", "jwks", "feed keys", "clock: broker", "clock: idp", "nats", "data directory", "fsync", "cookie", "origin " + spa} {
		if f, ok := found[check]; !ok || f.Level != doctor.OK {
			t.Errorf("%s: %+v", check, f)
		}
	}
	if f := found["provider idp"]; f.Level != doctor.Warn || !strings.Contains(f.Detail, "is not https") { // it answers, on loopback
		t.Errorf("provider idp: %+v", f)
	}
}

func TestFaultsAreFound(t *testing.T) {
	tests := map[string]struct {
		spoil func(*world, *doctor.Subject)
		check string
		level doctor.Level
		says  string
	}{
		"another issuer": {func(w *world, _ *doctor.Subject) { w.issuer = "http://other" }, "issuer", doctor.Fail, `names "http://other"`},
		"the wrong site": {func(_ *world, s *doctor.Subject) { s.Issuer += "/elsewhere" }, "issuer", doctor.Fail, "404"},
		"no keys":        {func(w *world, _ *doctor.Subject) { w.keys = `{"keys":[]}` }, "jwks", doctor.Fail, "no keys"},
		"a private key":  {func(w *world, _ *doctor.Subject) { w.keys = `{"keys":[{"kty":"EC","d":"x"}]}` }, "jwks", doctor.Fail, "private"},
		"no cache life":  {func(w *world, _ *doctor.Subject) { w.cache = "no-cache" }, "jwks", doctor.Warn, "no-cache"},
		"a page":         {func(w *world, _ *doctor.Subject) { w.keys = "<html>" }, "feed keys", doctor.Fail, "not JSON"},
		"a lagging broker": {func(_ *world, s *doctor.Subject) { s.Status.Now = time.Now().Add(-2 * time.Minute) },
			"clock: broker", doctor.Fail, "2m0s"},
		"a provider ahead": {func(w *world, _ *doctor.Subject) { w.date = time.Now().Add(20 * time.Second) }, "clock: idp", doctor.Warn, "from this machine's"},
		"no provider": {func(_ *world, s *doctor.Subject) { s.Providers[0] = idp("http://127.0.0.1:1", nil) },
			"provider idp", doctor.Fail, "refused"},
		"a provider that the broker refuses": {func(_ *world, s *doctor.Subject) {
			s.Providers[0].Check = func(context.Context) (upstream.KeyReport, error) {
				return upstream.KeyReport{}, errors.New("endpoint_hosts")
			}
		}, "provider idp", doctor.Fail, "endpoint_hosts"},
		"a provider's odd key": {func(_ *world, s *doctor.Subject) {
			issuer := s.Providers[0].Issuer
			s.Providers[0].Check = func(context.Context) (upstream.KeyReport, error) {
				return upstream.KeyReport{Issuer: issuer, Usable: 2, Unfit: `key "odd"`}, nil
			}
		}, "provider idp", doctor.Warn, `2 keys; not usable: key "odd"`},
		"another provider": {func(_ *world, s *doctor.Subject) { s.Providers[0] = idp(s.Issuer+"/", nil) }, "provider idp", doctor.Fail, "the document names the issuer"},
		"not ready": {func(_ *world, s *doctor.Subject) {
			s.Status.Checks = []httpapi.Check{{Name: "store", Detail: "writes are refused"}}
		}, "server", doctor.Fail, "pid 7"},
		"a service of an older version": {func(_ *world, s *doctor.Subject) {
			s.Status.Cluster = &admin.ClusterStatus{OutdatedServices: []string{"billing"}}
		}, "services", doctor.Warn, "billing"},
		"no broker":                     {func(_ *world, s *doctor.Subject) { s.Status = nil }, "server", doctor.Skip, "no broker"},
		"a broker that cannot be asked": {func(_ *world, s *doctor.Subject) { s.Status, s.StatusErr = nil, errors.New("permission denied") }, "server", doctor.Skip, "permission denied"},
		"nothing at the public URL":     {func(_ *world, s *doctor.Subject) { s.Issuer = "http://127.0.0.1:1" }, "cookie", doctor.Skip, "origins were not checked"},
		"unreadable forwarded addresses": {func(_ *world, s *doctor.Subject) { s.Status.Connections.UnreadableForwarded = 7 },
			"client addresses", doctor.Warn, "7 requests"},
		"an open data dir": {func(_ *world, s *doctor.Subject) { _ = os.Chmod(s.DataDir, 0o755) }, "data directory", doctor.Fail, "0755"},
		"no data dir":      {func(_ *world, s *doctor.Subject) { s.DataDir += "/none" }, "data directory", doctor.Skip, "not on this machine"},
		"a script can read the cookie": {func(w *world, _ *doctor.Subject) { w.cookie = "refresh_cookie=; SameSite=Strict" },
			"cookie", doctor.Fail, "without HttpOnly"},
		"no cookie":    {func(w *world, _ *doctor.Subject) { w.cookie = "" }, "cookie", doctor.Fail, "0 cookies"},
		"no CORS":      {func(w *world, _ *doctor.Subject) { w.allowed = "" }, "origin " + spa, doctor.Fail, "204"},
		"another site": {func(_ *world, s *doctor.Subject) { s.Origins = []string{"http://localhost:1"} }, "origin http://localhost:1", doctor.Warn, "not same-site"},
		"no NATS":      {func(_ *world, s *doctor.Subject) { s.NATS, s.NATSKnown = node.NATS{URL: "nats://127.0.0.1:1"}, true }, "nats: publish", doctor.Fail, "no servers"},
		"unknown NATS": {func(_ *world, s *doctor.Subject) { s.NATS = node.NATS{URL: "nats://127.0.0.1:1"} }, "nats", doctor.Skip, "not known"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := look(t, tt.spoil)[tt.check]
			if f.Level != tt.level || !strings.Contains(f.Detail, tt.says) {
				t.Errorf("%+v, want %s with %q", f, tt.level, tt.says)
			}
		})
	}
}

func TestPlantableCookieIsAWarning(t *testing.T) {
	const replaced = "__Secure-refresh_cookie=; Path=/auth; Max-Age=0; HttpOnly; Secure; SameSite=Strict"
	for _, tt := range []struct {
		cookies []string
		level   doctor.Level
	}{
		{[]string{"__Host-refresh_cookie=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict", replaced}, doctor.OK},
		{[]string{replaced}, doctor.Warn},
	} {
		broker := roundTrip(func(r *http.Request) (*http.Response, error) {
			body := "{}"
			if strings.HasPrefix(r.URL.Path, "/.well-known/openid") {
				body = `{"issuer": "https://auth.example.com"}`
			}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Set-Cookie": tt.cookies}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})
		s := doctor.Subject{Issuer: "https://auth.example.com", DataDir: t.TempDir() + "/none", Client: &http.Client{Transport: broker}}
		i := slices.IndexFunc(doctor.Run(t.Context(), s), func(f doctor.Finding) bool { return f.Check == "cookie" && f.Level == tt.level })
		if i < 0 {
			t.Errorf("%q: no finding %q in %+v", tt.cookies, tt.level, doctor.Run(t.Context(), s))
		}
	}
}

// natsServer starts a NATS server with accounts for a broker and for a service that may only subscribe. If
// open, it also accepts connections without credentials.
func natsServer(t *testing.T, open bool) string {
	t.Helper()
	users := []*server.User{
		{Username: "broker", Password: "of-the-broker"},
		{Username: "service", Password: "of-the-service", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{">"}}}},
	}
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, Users: users}
	if open {
		opts.NoAuthUser = "service"
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	return ns.ClientURL()
}

func TestNATSPermissions(t *testing.T) {
	tests := map[string]struct {
		user, password string
		open           bool
		check          string
		level          doctor.Level
		says           string
	}{
		"the broker's account":     {"broker", "of-the-broker", false, "nats: publish", doctor.OK, "round trip"},
		"an account that listens":  {"service", "of-the-service", false, "nats: publish", doctor.Fail, "ermissions"},
		"a wrong password":         {"broker", "wrong", false, "nats: publish", doctor.Fail, "uthorization"},
		"credentials are required": {"broker", "of-the-broker", false, "nats: without credentials", doctor.OK, "refused"},
		"no_auth_user":             {"broker", "of-the-broker", true, "nats: without credentials", doctor.Warn, "accepts connections without credentials"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			url := natsServer(t, tt.open)
			f := look(t, func(_ *world, s *doctor.Subject) {
				s.NATS, s.NATSKnown = node.NATS{URL: url, User: tt.user, Password: tt.password}, true
			})[tt.check]
			if f.Level != tt.level || !strings.Contains(f.Detail, tt.says) {
				t.Errorf("%+v, want %s with %q", f, tt.level, tt.says)
			}
			if strings.Contains(f.Detail+f.Hint, tt.password) {
				t.Error("the password is shown")
			}
		})
	}
}

func TestFailedIgnoresWarningsAndSkips(t *testing.T) {
	some := []doctor.Finding{{Level: doctor.Warn}, {Level: doctor.Skip}, {Level: doctor.OK}}
	if doctor.Failed(some) || !doctor.Failed(append(some, doctor.Finding{Level: doctor.Fail})) {
		t.Error("Failed does not report exactly the findings of level fail")
	}
}
