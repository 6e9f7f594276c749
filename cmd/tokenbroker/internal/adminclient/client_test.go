package adminclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
)

// asked is the request line and the body of a request.
type asked struct{ Line, Body string }

// recorder answers every request with body and records the last request.
type recorder struct {
	status       int
	media, body  string
	last         asked
	authorized   string
	contentTypes []string
}

func (s *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.last = asked{r.Method + " " + r.URL.RequestURI(), string(body)}
	s.authorized = r.Header.Get("Authorization")
	s.contentTypes = append(s.contentTypes, r.Header.Get("Content-Type"))
	w.Header().Set("Content-Type", s.media)
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.body)
}

func clientOf(t *testing.T, h http.Handler) *adminclient.Client {
	t.Helper()
	withoutServers(t)
	client, err := adminclient.Locate(adminclient.Options{Admin: onTCP(t, h), TokenFile: write(t, secretToken)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestRequestsOnTheWire(t *testing.T) {
	server := &recorder{status: http.StatusOK, media: "application/json", body: "{}"}
	client := clientOf(t, server)
	for _, c := range []struct {
		ask  func(ctx context.Context) error
		want asked
	}{
		{func(ctx context.Context) error {
			_, err := client.AddUser(ctx, operator.NewUser{Username: "ada", Password: "pw", Attributes: map[string]any{"n": json.Number("1")}, Roles: []string{"a"}})
			return err
		}, asked{"POST /admin/v1/users", `{"username":"ada","password":"pw","attributes":{"n":1},"roles":["a"]}`}},
		{func(ctx context.Context) error { _, err := client.User(ctx, "a/b ?"); return err }, asked{"GET /admin/v1/users/a%2Fb%20%3F", ""}},
		{func(ctx context.Context) error {
			_, err := client.ListUsers(ctx, operator.UserQuery{Match: "a&b", After: "u1", Limit: 7})
			return err
		}, asked{"GET /admin/v1/users?after=u1&limit=7&match=a%26b", ""}},
		{func(ctx context.Context) error { _, err := client.ListUsers(ctx, operator.UserQuery{}); return err }, asked{"GET /admin/v1/users", ""}},
		{func(ctx context.Context) error {
			_, err := client.UpdateUser(ctx, "ada", adminclient.UserPatch{Attributes: map[string]any{}, Roles: []string{}})
			return err
		}, asked{"PATCH /admin/v1/users/ada", `{"attributes":{},"roles":[]}`}},
		{func(ctx context.Context) error {
			_, err := client.UpdateUser(ctx, "ada", adminclient.UserPatch{})
			return err
		}, asked{"PATCH /admin/v1/users/ada", `{}`}},
		{func(ctx context.Context) error { _, err := client.SetPassword(ctx, "ada", "pw", true); return err }, asked{"POST /admin/v1/users/ada/password", `{"password":"pw","keep_sessions":true}`}},
		{func(ctx context.Context) error { _, err := client.DisableUser(ctx, "ada", "words"); return err }, asked{"POST /admin/v1/users/ada/disable", `{"note":"words"}`}},
		{func(ctx context.Context) error { _, err := client.EnableUser(ctx, "ada", ""); return err }, asked{"POST /admin/v1/users/ada/enable", `{}`}},
		{func(ctx context.Context) error { _, err := client.RemoveUser(ctx, "ada", ""); return err }, asked{"DELETE /admin/v1/users/ada", `{}`}},
		{func(ctx context.Context) error {
			_, err := client.ListSessions(ctx, operator.SessionQuery{User: "ada", Ended: true})
			return err
		}, asked{"GET /admin/v1/sessions?ended=true&user=ada", ""}},
		{func(ctx context.Context) error { _, err := client.EndSession(ctx, "s1", "words"); return err }, asked{"DELETE /admin/v1/sessions/s1", `{"note":"words"}`}},
		{func(ctx context.Context) error {
			_, err := client.Revoke(ctx, adminclient.Revocation{Kind: "sub", Value: "ada", Reason: "revoked", Note: "words"})
			return err
		}, asked{"POST /admin/v1/revocations", `{"kind":"sub","value":"ada","reason":"revoked","note":"words"}`}},
		{func(ctx context.Context) error { _, err := client.ListRevocations(ctx, "x", 5); return err }, asked{"GET /admin/v1/revocations?after=x&limit=5", ""}},
		{func(ctx context.Context) error { _, err := client.Status(ctx); return err }, asked{"GET /admin/v1/status", ""}},
		{func(ctx context.Context) error { _, err := client.Ready(ctx); return err }, asked{"GET /readyz?verbose=", ""}},
	} {
		t.Run(c.want.Line, func(t *testing.T) {
			if err := c.ask(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, server.last); diff != "" {
				t.Error(diff)
			}
			if server.authorized != "Bearer "+secretToken {
				t.Errorf("Authorization %q", server.authorized)
			}
			if last := server.contentTypes[len(server.contentTypes)-1]; (c.want.Body != "") != (last == "application/json") {
				t.Errorf("Content-Type %q", last)
			}
		})
	}
}

func TestProblemsCarryTheCode(t *testing.T) {
	for _, c := range []struct {
		name, media, body string
		status            int
		want              adminclient.Problem
		text              string
	}{
		{"a problem", "application/problem+json; charset=utf-8", `{"code":"unknown_user","detail":"there is no user \u001b[2Jx"}`, 404,
			adminclient.Problem{Status: 404, Code: "unknown_user", Detail: "there is no user \x1b[2Jx"}, `unknown_user: "there is no user \x1b[2Jx"`},
		{"a server's fault names the request", "application/problem+json", `{"code":"internal","detail":"d","request_id":"r1"}`, 500,
			adminclient.Problem{Status: 500, Code: "internal", Detail: "d", RequestID: "r1"}, "internal: d (request r1)"},
		{"another server", "text/html", `<html>`, 404, adminclient.Problem{Status: 404}, "is http://127.0.0.1"},
		{"a redirect is not followed", "text/html", ``, 302, adminclient.Problem{Status: 302}, "302 Found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := clientOf(t, &recorder{status: c.status, media: c.media, body: c.body})
			_, err := client.User(t.Context(), "ada")
			var got *adminclient.Problem
			if !errors.As(err, &got) {
				t.Fatalf("got %v; want a problem", err)
			}
			if got.Status != c.want.Status || got.Code != c.want.Code || got.Detail != c.want.Detail || got.RequestID != c.want.RequestID {
				t.Errorf("got %+v; want %+v", got, c.want)
			}
			if !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %q; want %q in it", err, c.text)
			}
		})
	}
}

func TestAMissingTokenHasAHint(t *testing.T) {
	withoutServers(t)
	_, err := askName(t, adminclient.Options{Admin: onTCP(t, named("url", secretToken))})
	if err == nil || !strings.Contains(err.Error(), "--admin-token-file") {
		t.Errorf("got %v", err)
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	client := clientOf(t, &recorder{status: 200, media: "application/json", body: `{"attributes":{"n":12345678901234567890}}`})
	user, err := client.User(t.Context(), "ada")
	if err != nil || user.Attributes["n"] != json.Number("12345678901234567890") {
		t.Errorf("got %v, %v", user.Attributes, err)
	}
}

func TestAnAnswerThatIsNotJSONIsAnError(t *testing.T) {
	client := clientOf(t, &recorder{status: 200, media: "text/html", body: `<html>`})
	if _, err := client.User(t.Context(), "ada"); err == nil {
		t.Error("no error")
	}
}

func TestARequestEndsWithItsContext(t *testing.T) {
	entered := make(chan struct{})
	client := clientOf(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices that the caller is gone once it has read all
		close(entered)
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { <-entered; cancel() }()
	_, err := client.SetPassword(ctx, "ada", "hunter2", false)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "not known whether it was done") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestAnErrorBeforeSendingIsNotReportedAsUncertain(t *testing.T) {
	withoutServers(t)
	server := httptest.NewTLSServer(named("tls", "")) // its certificate is not trusted
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	client, err := adminclient.Locate(adminclient.Options{Admin: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.SetPassword(t.Context(), "ada", "hunter2", false)
	if err == nil || strings.Contains(err.Error(), "not known whether") || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

// TestABackupThatIsCutOff: a server ends a backup that it cannot continue by closing the connection.
func TestABackupThatIsCutOff(t *testing.T) {
	client := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	var got strings.Builder
	err := client.Backup(t.Context(), &got)
	if err == nil || !strings.Contains(err.Error(), "its log has the reason") || got.String() != "a part" {
		t.Errorf("%q, %v", got.String(), err)
	}
}
