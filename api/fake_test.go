package api_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/revocation"
)

const (
	own    = "http://127.0.0.1:8080"
	spa    = "http://127.0.0.1:5173"
	cookie = "refresh_cookie=rt1.good"
)

// fake is a broker that answers as it is told and remembers what it was asked.
type fake struct {
	err       error
	kept      *broker.Grant // what comes with err
	logOff    broker.LogOffResult
	claims    string
	verifyErr error
	clientErr error
	secret    string // of the client; empty: demo-service-secret
	answer    any
	open      int           // answers that were not closed
	wait      time.Duration // what a catch-up takes, in a bubble
	answerErr error
	checks    []api.Check
	panics    any

	calls      []string
	username   string
	password   string
	token      string
	duplicates []string
	csrf       string
	client     string // that a catch-up or a stream is for
	position   string
	receipt    string
	req        broker.Request
}

func (f *fake) SignIn(_ context.Context, username, password string, req broker.Request) (*broker.Grant, error) {
	f.calls, f.username, f.password, f.req = append(f.calls, "sign-in"), username, password, req
	if f.panics != nil {
		panic(f.panics)
	}
	return f.grant()
}

func (f *fake) Refresh(_ context.Context, token, csrf string, req broker.Request) (*broker.Grant, error) {
	f.calls, f.token, f.csrf, f.req = append(f.calls, "refresh"), token, csrf, req
	return f.grant()
}

func (f *fake) grant() (*broker.Grant, error) {
	if f.err != nil {
		return f.kept, f.err
	}
	return &broker.Grant{
		AccessToken: "access.jwt", ExpiresAt: time.Unix(1700000300, 0), ExpiresIn: 299*time.Second + 900*time.Millisecond,
		RefreshToken: "rt1.new", RefreshMaxAge: 14 * 24 * time.Hour, CSRFToken: "csrf-1",
		User: map[string]any{"username": "admin"}, UID: "u1", SID: "s1",
	}, nil
}

func (f *fake) LogOff(_ context.Context, token, csrf string, req broker.Request, duplicates ...string) (broker.LogOffResult, error) {
	f.calls, f.token, f.csrf, f.req = append(f.calls, "logoff"), token, csrf, req
	f.duplicates = duplicates
	return f.logOff, f.err
}

func (f *fake) Session(_ context.Context, token string, req broker.Request) (*broker.SessionInfo, error) {
	f.calls, f.token, f.req = append(f.calls, "session"), token, req
	if f.err != nil {
		return nil, f.err
	}
	return &broker.SessionInfo{
		UID: "u1", SID: "s1", CSRFToken: "csrf-1", ExpiresAt: time.Unix(1700001000, 0), CreatedAt: time.Unix(1700000000, 0),
		AuthTime: time.Unix(1700000000, 0), ClientID: "demo-spa", Scope: "hello:read",
	}, nil
}

func (f *fake) Verify(_ context.Context, token string) (json.RawMessage, error) {
	f.calls, f.token = append(f.calls, "verify"), token
	return json.RawMessage(f.claims), f.verifyErr
}

func (f *fake) AuthenticateClient(_ context.Context, id string, secrets ...string) (broker.ClientInfo, error) {
	f.calls = append(f.calls, "client")
	if f.clientErr == nil && (id != "demo-service" || !slices.Contains(secrets, cmp.Or(f.secret, "demo-service-secret"))) {
		return broker.ClientInfo{}, &broker.Error{Code: broker.CodeInvalidClient}
	}
	return broker.ClientInfo{ID: id}, f.clientErr
}

func (f *fake) Answer(ctx context.Context, client, after string, as revocation.Form) (api.CatchupAnswer, error) {
	f.calls, f.client, f.position = append(f.calls, "catch-up"), client, after
	select { // fake time, in synctest
	case <-time.After(f.wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.answerErr != nil {
		return nil, f.answerErr
	}
	body, err := json.Marshal(f.answer)
	if as == revocation.FormBinary {
		body = []byte("packed")
	}
	f.open++
	return &fakeAnswer{f, body}, err
}

// Receipt is [api.Receipts].
func (f *fake) Receipt(client string, raw []byte) error {
	f.calls, f.receipt = append(f.calls, "receipt"), client+" "+string(raw)
	return f.err
}

// badPosition is the ledger's error for a position it cannot read.
type badPosition struct{}

func (badPosition) Error() string     { return "bad position" }
func (badPosition) BadPosition() bool { return true }

func config(f *fake) api.Config {
	return api.Config{
		Issuer: own, Origins: []string{spa}, Cookie: httpapi.Cookie{Insecure: true}, MaxTokenLifetime: func() time.Duration { return 5 * time.Minute }, Algorithms: func() []string { return []string{"ES256"} },
		Sessions: f, Clients: f, Verifier: f, Catchup: f, Receipts: f,
		JWKS:      func() ([]byte, string, time.Duration) { return []byte(`{"keys":["a"]}`), "tag-a", 300 * time.Second },
		FeedJWKS:  func() ([]byte, string, time.Duration) { return []byte(`{"keys":["f"]}`), `"tag-f"`, 60 * time.Second },
		Readiness: func(context.Context) []api.Check { return f.checks },
		Logger:    slog.New(slog.DiscardHandler),
	}
}

func newHandler(f *fake, change ...func(*api.Config)) (http.Handler, error) {
	cfg := config(f)
	for _, c := range change {
		c(&cfg)
	}
	public, err := api.New(cfg)
	return public, err
}

func newAPI(t *testing.T, f *fake, change ...func(*api.Config)) http.Handler {
	t.Helper()
	h, err := newHandler(f, change...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// call sends one request. Headers are "Name: value" lines; POST has the JSON type unless one is given.
func call(h http.Handler, method, path, body string, headers ...string) *http.Response {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, own+path, rd)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "Content-Type" && value == "":
			r.Header.Del(name)
		case name == "Content-Type":
			r.Header.Set(name, value)
		default:
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

type problem struct {
	Type, Title, Detail, Code string
	Status                    int
	RequestID                 string `json:"request_id"`
	Checks                    []api.Check
}

func readProblem(t *testing.T, res *http.Response) problem {
	t.Helper()
	if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q, want a problem", ct)
	}
	var p problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Status != res.StatusCode || p.Title == "" || p.RequestID == "" || p.RequestID != res.Header.Get("X-Request-Id") ||
		p.Type != "urn:tokenbroker:problem:"+p.Code {
		t.Errorf("problem %+v does not fit status %d, id %q", p, res.StatusCode, res.Header.Get("X-Request-Id"))
	}
	return p
}

func want(t *testing.T, res *http.Response, status int, code string) problem {
	t.Helper()
	if res.StatusCode != status {
		t.Fatalf("status %d, want %d", res.StatusCode, status)
	}
	p := readProblem(t, res)
	if p.Code != code {
		t.Fatalf("code %q, want %q (%s)", p.Code, code, p.Detail)
	}
	return p
}

func wantJSON(t *testing.T, res *http.Response, status int, body string) {
	t.Helper()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status || !bytes.Equal(bytes.TrimSpace(got), []byte(body)) {
		t.Fatalf("got %d %s\nwant %d %s", res.StatusCode, got, status, body)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
}

// cookies says what the answer sets the cookie to and whether it removes it.
func cookies(res *http.Response) (set string, cleared bool) {
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			cleared = true
		} else {
			set = c.Value
		}
	}
	return set, cleared
}
