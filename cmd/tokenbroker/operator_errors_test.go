package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/cmd/tokenbroker/internal/buildinfo"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

const statusJSON = `{"version":"v1","pid":12,"started_at":"2026-01-02T03:04:05Z","now":"2026-01-02T04:04:05Z","ready":"degraded","checks":[{"name":"nats","ok":true,"degraded":true,"detail":"away"}],"issuer":"https://id.example","listen":"127.0.0.1:8080","data_dir":"/var/lib/tokenbroker","origins":["https://app.example"],"store":{"id":"st","writable":false,"free_bytes":3221225472},"ledger":{"origin":"or","head":9,"backlog":2,"oldest_seconds":1.5},"nats":{"url":"nats://127.0.0.1:4222","embedded":true,"connected":false},"keys":[{"kid":"k1","purpose":"access","algorithm":"ES256","state":"active"}],"providers":[{"name":"cognito","issuer":"https://c.example","ready":true}],"services":[{"service":"billing/ab12cd34","source":"nats/billing","state":"fresh","applied":9,"lag":0,"age_ms":120,"heard_ms":300},{"service":"hr/zz","source":"http/hr","state":"silent","applied":7,"lag":2,"age_ms":90,"heard_ms":12000}],"connections":{"open":0,"max":0,"per_address":0,"open_files":0},"mailboxes":{"session":1,"committer":0}}`

func TestStatusAsText(t *testing.T) {
	serveFake(t, map[string]answer{"GET /admin/v1/status": {200, statusJSON}})
	want := ran{terminal.ExitOK, `state     degraded
version   v1
pid       12
started   2026-01-02T03:04:05Z (1h0m0s ago)
issuer    https://id.example
listen    127.0.0.1:8080
admin     -
origins   https://app.example
data      /var/lib/tokenbroker (3.0 GiB free)
store     st, REFUSES WRITES
ledger    origin or, head 9, 2 not yet broadcast, the oldest for 1.5 s
nats      nats://127.0.0.1:4222, embedded, NOT CONNECTED
provider  cognito https://c.example, ready
key       k1 access ES256 active
check     nats: degraded (away)
mailbox   committer 0
mailbox   session 1

SERVICE           SOURCE        STATE   LAG       LAST HEARD
billing/ab12cd34  nats/billing  fresh   none      0.3 s ago
hr/zz             http/hr       SILENT  2 behind  12.0 s ago
`, ""}
	if diff := cmp.Diff(want, command(t, nil, "status"), cmp.AllowUnexported(ran{})); diff != "" {
		t.Error(diff)
	}
}

// TestStatusOfSeveralBrokers checks that the brokers of a shared store are listed, and that services which cannot
// follow them are reported.
func TestStatusOfSeveralBrokers(t *testing.T) {
	const cluster = `"cluster":{"name":"a","clock_offset_ms":-3,"brokers":[` +
		`{"name":"a","address":"10.0.0.1:8080","origin":"or","version":"v1","since":"2026-01-02T03:04:05Z","live":true,"speaks":[1,1],"clock_offset_ms":0,"engine_ms":1.34,"collector":true},` +
		`{"name":"b","address":"10.0.0.2:8080","origin":"ob","version":"v2","since":"2026-01-02T03:05:05Z","live":true,"speaks":[1,2],"clock_offset_ms":-1250},` +
		`{"name":"c","address":"10.0.0.3:8080","origin":"oc","version":"v2","since":"2026-01-02T03:06:05Z","live":false}],"outdated_services":["billing","hr"]},`
	status := strings.NewReplacer(`"store":{`, `"store":{"version":1,`, `"keys":`, cluster+`"keys":`, `"heard_ms":300`, `"heard_ms":300,"speaker":"ob","speaker_name":"b"`).Replace(statusJSON)
	serveFake(t, map[string]answer{"GET /admin/v1/status": {200, status}})
	got := command(t, nil, "status")
	for _, want := range []string{
		"\nbroker    a 10.0.0.1:8080 v1, speaks 1, origin or, running since 2026-01-02T03:04:05Z, clock +0.000 s, engine 1.3 ms, collects, this one\n",
		"\nbroker    b 10.0.0.2:8080 v2, speaks 1 to 2, origin ob, running since 2026-01-02T03:05:05Z, clock -1.250 s\n",
		"\nbroker    c 10.0.0.3:8080 v2, origin oc, ENDED, began 2026-01-02T03:06:05Z\n",
		"store     st, version 1, ",
		"\nWARNING   brokers of different versions run: v1 and v2; the store remains at version 1 until all of them can use 2: complete the upgrade\n",
		"\nWARNING   services that do not understand several brokers, update them: billing,hr\n",
		"  LAST HEARD  HEARS\nbilling/ab12cd34  nats/billing  fresh   none      0.3 s ago   b\n",
		" 12.0 s ago  ?\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("missing %q in\n%s", want, got.stdout)
		}
	}
}

func TestHealthcheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer answer
		want   ran
	}{
		{"ready", answer{200, `{"status":"ready","checks":[{"name":"store","ok":true}]}`}, ran{terminal.ExitOK, "ready\n", ""}},
		{"degraded is healthy", answer{200, `{"status":"degraded","checks":[{"name":"nats","ok":true,"degraded":true}]}`}, ran{terminal.ExitOK, "degraded\n  nats: degraded\n", ""}},
		{
			"not ready", answer{503, `{"code":"not_ready","detail":"not ready: store","checks":[{"name":"store","ok":false,"detail":"disk full"},{"name":"nats","ok":true}]}`},
			ran{terminal.ExitFailed, "", "tokenbroker: not_ready: not ready: store: store: FAILED (disk full)\n"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			serveFake(t, map[string]answer{"GET /readyz?verbose=": c.answer})
			t.Setenv("TOKENBROKER_ADMIN_TOKEN_FILE", "") // none is needed
			if diff := cmp.Diff(c.want, command(t, nil, "healthcheck"), cmp.AllowUnexported(ran{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHealthcheckOfAURL(t *testing.T) {
	withoutServers(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			w.WriteHeader(http.StatusNoContent)
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	for path, want := range map[string]int{server.URL + "/ok": terminal.ExitOK, server.URL + "/moved": terminal.ExitFailed, server.URL + "/down": terminal.ExitFailed, "ftp://x": terminal.ExitUsage, "127.0.0.1:80": terminal.ExitUsage} {
		if got := command(t, nil, "healthcheck", "--url", path); got.code != want || (got.stdout != "") != (want == terminal.ExitOK) {
			t.Errorf("%s: got %+v, want code %d", path, got, want)
		}
	}
}

func TestRefusalsOfTheServer(t *testing.T) {
	answers := map[string]answer{
		"GET /admin/v1/users/eve": {404, `{"code":"unknown_user","detail":"there is no user \u001b[1meve"}`},
		"POST /admin/v1/users":    {409, `{"code":"user_exists","detail":"there is a user of that name"}`},
	}
	t.Run("text", func(t *testing.T) {
		serveFake(t, answers)
		got := command(t, nil, "users", "show", "eve")
		want := ran{terminal.ExitFailed, "", `tokenbroker: showing the user: unknown_user: "there is no user \x1b[1meve"` + "\n"}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(ran{})); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("json", func(t *testing.T) {
		serveFake(t, answers)
		got := command(t, strings.NewReader(operatorPassword), "users", "add", "ada", "--output", "json")
		want := terminal.Fault{Error: "adding the user: user_exists: there is a user of that name", Code: "user_exists", Detail: "there is a user of that name"}
		if diff := cmp.Diff(want, errorOf(t, got.stderr)); diff != "" || got.code != terminal.ExitFailed || got.stdout != "" {
			t.Errorf("%+v %s", got, diff)
		}
	})
	t.Run("a missing token", func(t *testing.T) {
		serveFake(t, answers)
		t.Setenv("TOKENBROKER_ADMIN_TOKEN_FILE", "")
		got := command(t, nil, "users", "show", "eve")
		if got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "--admin-token-file") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("pages that go round in circles", func(t *testing.T) {
		fake := serveFake(t, map[string]answer{
			"GET /admin/v1/users?limit=1000":         {200, `{"users":[],"next":"x"}`},
			"GET /admin/v1/users?after=x&limit=1000": {200, `{"users":[],"next":"x"}`},
		})
		if got := command(t, nil, "users", "list"); got.code != terminal.ExitFailed || len(fake.asked) != 2 {
			t.Errorf("got %+v after %v", got, fake.asked)
		}
	})
}

func errorOf(t *testing.T, text string) terminal.Fault {
	t.Helper()
	var object terminal.Fault
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return object
}

func TestNoServerRuns(t *testing.T) {
	withoutServers(t)
	dir := t.TempDir()
	got := command(t, nil, "status", "--data-dir", dir)
	if got.code != terminal.ExitFailed || strings.Count(got.stderr, "\n") != 1 || got.stdout != "" {
		t.Errorf("got %+v; want one line", got)
	}
	for _, part := range []string{dir, "no server answers", "tokenbroker dev", "--data-dir", "--admin"} {
		if !strings.Contains(got.stderr, part) {
			t.Errorf("%q is missing in %q", part, got.stderr)
		}
	}
	got = command(t, nil, "status", "--output", "json")
	if object := errorOf(t, got.stderr); got.code != terminal.ExitFailed || object.Code != "no_server" || object.Detail == "" {
		t.Errorf("got %+v", got)
	}
}

func TestOperatorCommandsUsedWrongly(t *testing.T) {
	fake := serveFake(t, nil)
	for _, args := range [][]string{
		{"users", "nonsense"}, {"users", "add"}, {"users", "add", ""}, {"users", "add", "ada", "more"}, {"users", "list", "ada"},
		{"users", "add", "ada", "--password", "x"}, {"users", "add", "ada", "--attribute", "x"}, {"users", "add", "ada", "--attribute", "=x"},
		{"users", "add", "ada", "--attribute", "a=1", "--attribute", "a=2"},
		{"users", "set", "ada"}, {"users", "set", "ada", "--role", "x", "--no-roles"}, {"users", "set", "ada", "--attribute", "a=1", "--unset", "a"},
		{"users", "list", "--limit", "-1"}, {"users", "list", "--limit", "x"}, {"users", "remove", "ada"},
		{"sessions", "end"}, {"revoke", "moon", "x"}, {"revoke", "sub"}, {"revoke", "jti"}, {"revoke", "all"}, {"revoke", "all", "x", "--yes"},
		{"revoke", "--kind", "jti"}, {"revoke", "--note", "n"}, {"revoke", "--file", ""}, {"revoke", "--file", filepath.Join(t.TempDir(), "absent")}, {"revoke", "--file", "-", "--kind", "client"},
		{"revocations", "check"}, {"revocations", "check", "x", "--kind", "all"}, {"revocations", "check", "-"}, {"revocations", "list", "x"},
		{"status", "--output", "yaml"}, {"version", "--output", "yaml"}, {"status", "--data-dir", "/x", "--admin", "unix:///x"},
		{"status", "--admin", "http://broker.example"},
	} {
		got := command(t, strings.NewReader(operatorPassword), args...)
		if got.code != terminal.ExitUsage || got.stdout != "" || !strings.HasPrefix(got.stderr, "tokenbroker: ") {
			t.Errorf("%v: got %+v", args, got)
		}
	}
	if len(fake.asked) > 0 {
		t.Errorf("the server was asked: %v", fake.asked)
	}
	got := command(t, nil, "users", "add", "--output", "json")
	if object := errorOf(t, got.stderr); got.code != terminal.ExitUsage || object.Code != "usage" || object.Error != "users add: missing NAME" {
		t.Errorf("got %+v", got)
	}
}

func TestPasswordsFromStdin(t *testing.T) {
	fake := serveFake(t, nil)
	for name, c := range map[string]struct {
		stdin string
		code  int
	}{
		"empty": {"", terminal.ExitUsage}, "an empty line": {"\nsecond", terminal.ExitUsage}, "too long": {strings.Repeat("x", 5000), terminal.ExitFailed},
	} {
		for _, args := range [][]string{{"users", "add", "ada"}, {"users", "passwd", "ada"}} {
			if got := command(t, strings.NewReader(c.stdin), args...); got.code != c.code || len(got.stderr) > 300 {
				t.Errorf("%s: got %+v, want code %d", name, got, c.code)
			}
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if got := command(t, null, "users", "add", "ada"); got.code != terminal.ExitUsage || !strings.Contains(got.stderr, "empty") {
		t.Errorf("the null device: %+v", got)
	}
	if len(fake.asked) > 0 {
		t.Errorf("the server was asked: %v", fake.asked)
	}
}

func TestVersionAsJSON(t *testing.T) {
	got := command(t, nil, "version", "--output", "json")
	var info buildinfo.Info
	if err := json.Unmarshal([]byte(got.stdout), &info); err != nil || info.Go == "" || got.code != terminal.ExitOK {
		t.Errorf("got %+v, %v", got, err)
	}
	if text := command(t, nil, "version"); text.stdout != info.String()+"\n" {
		t.Errorf("as text: %+v; as JSON: %+v", text, info)
	}
}

func TestEveryOperatorCommandExplainsItself(t *testing.T) {
	withoutServers(t)
	for _, top := range operatorCommands(&options{}) {
		for _, cmd := range append(top.Commands(), top) {
			if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" && !cmd.HasSubCommands() {
				t.Errorf("%s lacks a Short, a Long or an Example", cmd.CommandPath())
			}
			for _, flag := range []string{"password", "token", "secret"} {
				if cmd.Flags().Lookup(flag) != nil {
					t.Errorf("%s takes a secret as the flag --%s", cmd.CommandPath(), flag)
				}
			}
		}
	}
}

func TestUsageErrorsExitWith2(t *testing.T) {
	needDev(t)
	for _, args := range [][]string{{"dev", "--no-such-flag"}, {"nonsense"}, {"dev", "extra"}, {"dev", "--log-level", "loud"}, {"dev", "--listen", "0.0.0.0:0"}, {"dev", "--nats-listen", ":4222"}, {"dev", "--origin", "localhost:5173"}, {"dev", "--origin", "*"}} {
		var out, errs syncBuffer
		if code := Main(t.Context(), args, &out, &errs); code != terminal.ExitUsage || errs.String() == "" {
			t.Errorf("%v: code %d, %q", args, code, errs.String())
		}
	}
}

func TestMistypedCommandsAndFlags(t *testing.T) {
	for args, want := range map[string]string{
		"stauts":               `unknown command or argument "stauts", did you mean status?`,
		"keys rotat":           `"rotat", did you mean rotate?`,
		"serve --conf x":       "unknown flag: --conf, did you mean --config?",
		"users list --ouptut=": "unknown flag: --ouptut, did you mean --output?",
		"serve --zzzzzz":       "unknown flag: --zzzzzz\nRun 'tokenbroker serve --help'",
		"zzzzzz":               "unknown command or argument \"zzzzzz\"\nRun 'tokenbroker --help'",
		"serve":                "set --config FILE or TOKENBROKER_CONFIG; 'tokenbroker config init tokenbroker.yaml' writes one",
	} {
		t.Setenv("TOKENBROKER_CONFIG", "")
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), nil, &stdout, &stderr); code == 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit %d, %s", args, code, &stderr)
		}
	}
}
