package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

const (
	aJTI = "01890a5d-ac96-774b-bcce-b302099a8057"
	aSID = "zwkq3fbn2v6c4o5yqhd7xj2mte"
)

func TestRevokeCommands(t *testing.T) {
	for _, c := range []struct {
		args           []string
		answer, asked  string
		stdout, stderr string
	}{
		{
			[]string{"revoke", "jti", aJTI, "--reason", "upstream", "--note", "n"}, `{"kind":"jti","value":"` + aJTI + `","changed":true,"broadcast":true}`,
			`{"kind":"jti","value":"` + aJTI + `","reason":"upstream","note":"n"}`, "revoked the token " + aJTI + ": recorded, and broadcast to the services\n", "",
		},
		{
			[]string{"revoke", "client", "demo-service"}, `{"kind":"client","value":"demo-service","epoch":7,"changed":true,"broadcast":true}`,
			`{"kind":"client","value":"demo-service"}`, "revoked all sessions and tokens of the client demo-service: recorded, and broadcast to the services\n", "",
		},
		{
			[]string{"revoke", "all", "--yes"}, `{"kind":"all","value":"","epoch":7,"changed":true,"broadcast":false}`,
			`{"kind":"all"}`, "revoked every session and token: recorded; the broadcast to services is pending\n", "",
		},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			fake := serveFake(t, map[string]answer{"POST /admin/v1/revocations": {200, c.answer}})
			got := command(t, nil, c.args...)
			if diff := cmp.Diff(ran{terminal.ExitOK, c.stdout, c.stderr}, got, cmp.AllowUnexported(ran{})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"POST /admin/v1/revocations " + c.asked}, fake.asked); diff != "" {
				t.Error(diff)
			}
			got = command(t, nil, append(c.args, "--output", "json")...)
			if diff := cmp.Diff(document(t, c.answer), document(t, got.stdout)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// bulkServer records what is revoked in bulk; it fails from the request numbered failFrom on.
type bulkServer struct {
	failFrom int

	mu       sync.Mutex
	requests []adminclient.BulkRevocation
}

func (s *bulkServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req adminclient.BulkRevocation
	_ = json.NewDecoder(r.Body).Decode(&req)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failFrom > 0 && len(s.requests)+1 >= s.failFrom {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(503)
		_, _ = fmt.Fprint(w, `{"code":"busy","detail":"too much is waiting"}`)
		return
	}
	s.requests = append(s.requests, req)
	unknown := ""
	n := len(req.Values)
	if slices.Contains(req.Values, "no\u202ebody") {
		unknown, n = `,"unknown_values":["no\u202ebody"]`, n-1
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"kind":%q,"recorded":%d,"changed":%d,"unknown":%d,"broadcast":true%s}`, req.Kind, n, n-1, len(req.Values)-n, unknown)
}

func serveBulk(t *testing.T, s *bulkServer) {
	t.Helper()
	serveFake(t, nil)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Setenv(adminclient.EnvAdmin, server.URL)
}

func TestRevokeAFile(t *testing.T) {
	server := &bulkServer{}
	serveBulk(t, server)
	var lines strings.Builder
	lines.WriteString("# stolen\r\n\n  sid " + aSID + "\nsub john  smith\nsub\tno\u202ebody\nsid " + aSID + "\n")
	for i := range 2500 {
		_, _ = fmt.Fprintf(&lines, "jti 01890000-0000-7000-8000-%012d\n", i)
	}
	file := filepath.Join(t.TempDir(), "ids.txt")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got := command(t, nil, "revoke", "--file", file, "--reason", "upstream", "--note", "n")
	want := ran{terminal.ExitOK, "recorded 2502 of 2503 (2497 new, 1 unknown): broadcast to the services\n", "unknown: \"sub no\\u202ebody\"\n"}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(ran{})); diff != "" {
		t.Error(diff)
	}
	sent := map[string]int{}
	for _, r := range server.requests {
		sent[string(r.Kind)] += len(r.Values)
		if len(r.Values) > 1000 || r.Reason != "upstream" || r.Note != "n" {
			t.Errorf("a request of %d, %q, %q", len(r.Values), r.Reason, r.Note)
		}
	}
	if diff := cmp.Diff(map[string]int{"jti": 2500, "sid": 1, "sub": 2}, sent); diff != "" || len(server.requests) != 5 {
		t.Errorf("%d requests %s", len(server.requests), diff)
	}
	got = command(t, strings.NewReader("no\u202ebody\nada\n"), "revoke", "--file", "-", "--kind", "sub", "--output", "json")
	if diff := cmp.Diff(document(t, `{"values":2,"recorded":1,"changed":0,"unknown":1,"unknown_values":["sub no\u202ebody"],"broadcast":true}`), document(t, got.stdout)); diff != "" || got.code != terminal.ExitOK || got.stderr != "" {
		t.Errorf("%+v %s", got, diff)
	}
}

func TestLongValuesFitTheirRequests(t *testing.T) {
	server := &bulkServer{}
	serveBulk(t, server)
	var lines strings.Builder
	for i := range 600 {
		_, _ = fmt.Fprintf(&lines, "%d%s\n", i, strings.Repeat("<", 200))
	}
	if got := command(t, strings.NewReader(lines.String()), "revoke", "--file", "-", "--kind", "sub"); got.code != terminal.ExitOK {
		t.Fatalf("%+v", got)
	}
	total := 0
	for _, r := range server.requests {
		total += len(r.Values)
		if body, _ := json.Marshal(r); len(body) > 64<<10 {
			t.Errorf("a request of %d bytes", len(body))
		}
	}
	if total != 600 {
		t.Errorf("%d were sent", total)
	}
}

func TestBadFileRevokesNothingAndListsAllBadLines(t *testing.T) {
	server := &bulkServer{}
	serveBulk(t, server)
	text := "jti " + aJTI + "\njti " + strings.ToUpper(aJTI) + "\n" + aSID + "\n# fine\nclient c\nsid\nsid x y\nsub \x1b[2J\n"
	got := command(t, strings.NewReader(text), "revoke", "--file", "-")
	if got.code != terminal.ExitUsage || got.stdout != "" || strings.Count(got.stderr, "\n  line ") != 6 {
		t.Errorf("got %+v", got)
	}
	for _, line := range []string{"line 2:", "line 3:", "line 5:", "line 6:", "line 7:", "line 8:"} {
		if !strings.Contains(got.stderr, line) {
			t.Errorf("%s is missing in %s", line, got.stderr)
		}
	}
	for name, bad := range map[string]string{
		"empty": "", "of comments": "# x\n\n", "of a long line": "sub " + strings.Repeat("x", 5000), "of many bad lines": strings.Repeat("x\n", 1000),
	} {
		if got := command(t, strings.NewReader(bad), "revoke", "--file", "-"); got.code != terminal.ExitUsage || len(got.stderr) > 10_000 {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if len(server.requests) > 0 {
		t.Errorf("the server was asked: %v", server.requests)
	}
}

func TestFailedBulkRevocationReportsWhatWasRevoked(t *testing.T) {
	server := &bulkServer{failFrom: 3}
	serveBulk(t, server)
	var lines strings.Builder
	for i := range 20_000 {
		_, _ = fmt.Fprintf(&lines, "01890000-0000-7000-8000-%012d\n", i)
	}
	got := command(t, strings.NewReader(lines.String()), "revoke", "--file", "-", "--kind", "jti")
	if got.code != terminal.ExitFailed || got.stdout != "" || !strings.Contains(got.stderr, "2000 of 20000 values were acknowledged and stay revoked; run the command again for the rest: busy") {
		t.Errorf("got %+v", got)
	}
}

// auditHint is the last line of "revocations check".
const auditHint = "The operator's note and the request are in the server's audit log: search it for the value."

func TestCheckingARevocation(t *testing.T) {
	const event = `{"kind":"sub","value":"u1","expires_at":1767323345,"at":1767323045,"reason":"revoked","epoch":9,"by":"uid 0","origin":"o1","seq":4}`
	const hit = `{"value":"s1","revoked":true,"events":[` + event + `],"session":` + sessionJSON + `}`
	serveFake(t, map[string]answer{
		"GET /admin/v1/revocations/check?value=s1":              {200, hit},
		"GET /admin/v1/revocations/check?kind=kid&value=k%2F1":  {200, `{"kind":"kid","value":"k/1","revoked":true,"events":[{"kind":"kid","value":"k/1","expires_at":0,"at":0,"reason":"key_compromise"}]}`},
		"GET /admin/v1/revocations/check?kind=all":              {200, `{"kind":"all","value":"","revoked":false,"events":[]}`},
		"GET /admin/v1/revocations?limit=1000":                  {200, `{"revocations":[{"kind":"jti","value":"j1","expires_at":1767323345,"at":1767323045,"reason":"reuse"}],"next":"jti.j1"}`},
		"GET /admin/v1/revocations?after=jti.j1&limit=1000":     {200, `{"revocations":[` + `{"kind":"all","value":"","expires_at":1767323345,"at":1767323045,"reason":"restore","epoch":9}` + `]}`},
		"GET /admin/v1/revocations/check?kind=sub&value=nobody": {400, `{"code":"invalid_revocation","detail":"no"}`},
	})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"check", "s1"}, `revoked: s1
session s1 of user u1 and client demo-spa: live
KIND  VALUE  REASON   SINCE                 UNTIL                 EPOCHS BELOW  BY     BATCH
sub   u1     revoked  2026-01-02T03:04:05Z  2026-01-02T03:09:05Z  9             uid 0  o1.4
` + auditHint + "\n"},
		{[]string{"check", "k/1", "--kind", "kid"}, `revoked: k/1
KIND  VALUE  REASON          SINCE  UNTIL      EPOCHS BELOW  BY  BATCH
kid   k/1    key_compromise  -      permanent  -             -   -
` + auditHint + "\n"},
		{[]string{"check", "--kind", "all"}, "not revoked: all tokens\n"},
		{[]string{"list"}, `KIND  VALUE  REASON   SINCE                 UNTIL                 EPOCHS BELOW
jti   j1     reuse    2026-01-02T03:04:05Z  2026-01-02T03:09:05Z  -
all   -      restore  2026-01-02T03:04:05Z  2026-01-02T03:09:05Z  9
`},
	} {
		got := command(t, nil, append([]string{"revocations"}, c.args...)...)
		if diff := cmp.Diff(ran{terminal.ExitOK, c.want, ""}, got, cmp.AllowUnexported(ran{})); diff != "" {
			t.Errorf("%v: %s", c.args, diff)
		}
	}
	got := command(t, nil, "revocations", "check", "s1", "--output", "json")
	if diff := cmp.Diff(document(t, hit), document(t, got.stdout)); diff != "" {
		t.Error(diff)
	}
	if got := command(t, nil, "revocations", "check", "nobody", "--kind", "sub"); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "invalid_revocation") {
		t.Errorf("%+v", got)
	}
}

// tokenOf returns a token with an invalid signature, which these tests do not check.
func tokenOf(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + ".c2lnbmF0dXJl"
}

func TestCheckingAToken(t *testing.T) {
	event := func(kind, value string, epoch int) string {
		return fmt.Sprintf(`{"kind":%q,"value":%q,"expires_at":1767323345,"at":1767323045,"reason":"revoked","epoch":%d,"origin":"o1","seq":4}`, kind, value, epoch)
	}
	none := `{"value":"x","revoked":false,"events":[]}`
	one := func(events string) answer {
		return answer{200, `{"value":"x","revoked":true,"events":[` + events + `]}`}
	}
	const path = "GET /admin/v1/revocations/check?kind="
	fake := serveFake(t, map[string]answer{
		path + "jti&value=" + aJTI: {200, none},
		path + "sid&value=s1":      {200, `{"value":"s1","revoked":true,"events":[` + strings.Replace(event("sid", "s1", 0), "revoked", "logoff", 1) + "," + event("client", "c1", 6) + `],"session":` + sessionJSON + `}`},
		path + "sub&value=u1":      one(event("sub", "u1", 5)), // not above the token's sep
		path + "client&value=c1":   one(event("client", "c1", 6)),
		path + "kid&value=k1":      {200, none},
		path + "all":               one(event("all", "", 5)),
	})
	token := tokenOf(`{"alg":"ES256","kid":"k1"}`, `{"jti":"`+aJTI+`","sid":"s1","sub":"u1","client_id":"c1","sep":5,"cep":5}`)
	got := command(t, strings.NewReader(token+"\n"), "revocations", "check", "-")
	want := ran{terminal.ExitOK, "revoked: the token " + aJTI + `
session s1 of user u1 and client demo-spa: live
KIND    VALUE  REASON   SINCE                 UNTIL                 EPOCHS BELOW  BY        BATCH
sid     s1     logoff   2026-01-02T03:04:05Z  2026-01-02T03:09:05Z  -             the user  o1.4
client  c1     revoked  2026-01-02T03:04:05Z  2026-01-02T03:09:05Z  6             -         o1.4
` + auditHint + "\nThe token's signature and expiry were not checked.\n", ""}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(ran{})); diff != "" {
		t.Error(diff)
	}
	if len(fake.asked) != 6 || strings.Contains(strings.Join(fake.asked, ""), "c2ln") {
		t.Errorf("asked %v", fake.asked)
	}
	for _, bad := range []string{"", "x", "a.b.c", token[1:], tokenOf(`{}`, `{"jti":"j"}`), tokenOf(`{}`, `[]`)} {
		got := command(t, strings.NewReader(bad), "revocations", "check", "-")
		if got.code != terminal.ExitUsage || bad != "" && len(bad) > 5 && strings.Contains(got.stderr, bad) {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}
