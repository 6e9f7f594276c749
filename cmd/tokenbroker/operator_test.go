package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func TestOperatorCommands(t *testing.T) {
	const pending = "recorded; the broadcast to services is pending"
	const done = "recorded, and broadcast to the services"
	for _, c := range []struct {
		name    string
		args    []string
		stdin   string
		answers map[string]answer
		asked   []string
		stdout  string
		stderr  string
	}{
		{
			name: "users add", args: []string{"users", "add", "ada", "--attribute", "email=a=b", "--attribute", "n=12345678901234567890", "--attribute", `l=["x"]`, "--attribute", "t=1 2", "--role", "staff"},
			stdin:   operatorPassword + "\r\n",
			answers: map[string]answer{"POST /admin/v1/users": {201, adaJSON}},
			asked:   []string{`POST /admin/v1/users {"username":"ada","password":"` + operatorPassword + `","attributes":{"email":"a=b","l":["x"],"n":12345678901234567890,"t":"1 2"},"roles":["staff"]}`},
			stdout:  "added ada (uid u1)\n",
		},
		{
			name: "users list reads all pages", args: []string{"users", "list", "--match", "a b"},
			answers: map[string]answer{
				"GET /admin/v1/users?limit=1000&match=a+b":          {200, `{"users":[` + adaJSON + `],"next":"u1"}`},
				"GET /admin/v1/users?after=u1&limit=1000&match=a+b": {200, `{"users":[` + evilJSON + `]}`},
			},
			asked: []string{"GET /admin/v1/users?limit=1000&match=a+b", "GET /admin/v1/users?after=u1&limit=1000&match=a+b"},
			stdout: `UID  USERNAME             STATE     ROLES      CREATED               LAST LOGIN            ISSUER
u1   ada                  active    staff,ops  2026-01-02T03:04:05Z  2026-02-03T04:05:06Z  local
u2   "ev\x1b[2Jil\u009b"  disabled  -          2026-01-02T03:04:05Z  -                     -
`,
		},
		{
			name: "users list stops at the limit and says so", args: []string{"users", "list", "--limit", "1"},
			answers: map[string]answer{"GET /admin/v1/users?limit=1": {200, `{"users":[` + evilJSON + `],"next":"u2"}`}},
			asked:   []string{"GET /admin/v1/users?limit=1"},
			stdout: `UID  USERNAME             STATE     ROLES  CREATED               LAST LOGIN  ISSUER
u2   "ev\x1b[2Jil\u009b"  disabled  -      2026-01-02T03:04:05Z  -           -
`,
			stderr: "There are more: raise --limit, or leave it out to see all.\n",
		},
		{
			name: "users list says how many are damaged", args: []string{"users", "list"},
			answers: map[string]answer{
				"GET /admin/v1/users?limit=1000":          {200, `{"users":[],"next":"u1","unreadable":2}`},
				"GET /admin/v1/users?after=u1&limit=1000": {200, `{"users":[],"unreadable":1}`},
			},
			asked: []string{"GET /admin/v1/users?limit=1000", "GET /admin/v1/users?after=u1&limit=1000"}, stdout: "no users\n",
			stderr: "Left out: 3 damaged, which the server cannot read; its log names them.\n",
		},
		{
			name: "users list of none", args: []string{"users", "list"},
			answers: map[string]answer{"GET /admin/v1/users?limit=1000": {200, `{"users":[]}`}},
			asked:   []string{"GET /admin/v1/users?limit=1000"}, stdout: "no users\n",
		},
		{
			name: "users show", args: []string{"users", "show", "ada"},
			answers: map[string]answer{"GET /admin/v1/users/ada": {200, adaJSON}}, asked: []string{"GET /admin/v1/users/ada"},
			stdout: `uid         u1
username    ada
state       active
password    yes
roles       staff,ops
groups      -
created     2026-01-02T03:04:05Z
last login  2026-02-03T04:05:06Z
account     urn:tokenbroker:local ada
attribute   email=ada@example.com
attribute   quoted="5"
attribute   seats=12345678901234567890
`,
		},
		{
			name: "users set changes the named attributes and keeps the others", args: []string{"users", "set", "ada", "--attribute", "plan=pro", "--unset", "quoted", "--no-roles"},
			answers: map[string]answer{"GET /admin/v1/users/ada": {200, adaJSON}, "PATCH /admin/v1/users/ada": {200, evilJSON}},
			asked:   []string{"GET /admin/v1/users/ada", `PATCH /admin/v1/users/ada {"attributes":{"email":"ada@example.com","plan":"pro","seats":12345678901234567890},"roles":[]}`},
			stdout: `uid         u2
username    "ev\x1b[2Jil\u009b"
state       disabled
password    no
roles       -
groups      -
created     2026-01-02T03:04:05Z
last login  -
`,
		},
		{
			name: "users passwd", args: []string{"users", "passwd", "ada"}, stdin: operatorPassword,
			answers: map[string]answer{"POST /admin/v1/users/ada/password": {202, pendingJSON}},
			asked:   []string{`POST /admin/v1/users/ada/password {"password":"` + operatorPassword + `"}`},
			stdout:  "set the password of ada and ended all sessions: " + pending + "\n",
		},
		{
			name: "users passwd --keep-sessions", args: []string{"users", "passwd", "ada", "--keep-sessions"}, stdin: operatorPassword + "\n",
			answers: map[string]answer{"POST /admin/v1/users/ada/password": {200, doneJSON}},
			asked:   []string{`POST /admin/v1/users/ada/password {"password":"` + operatorPassword + `","keep_sessions":true}`},
			stdout:  "set the password of ada; the sessions go on\n",
		},
		{
			name: "users disable", args: []string{"users", "disable", "ada", "--note", "left"},
			answers: map[string]answer{"POST /admin/v1/users/ada/disable": {200, doneJSON}},
			asked:   []string{`POST /admin/v1/users/ada/disable {"note":"left"}`}, stdout: "disabled ada and ended all sessions: " + done + "\n",
		},
		{
			name: "users disable twice", args: []string{"users", "disable", "ada"},
			answers: map[string]answer{"POST /admin/v1/users/ada/disable": {200, againJSON}},
			asked:   []string{`POST /admin/v1/users/ada/disable {}`}, stdout: "No change: this was done before (disabled ada and ended all sessions).\n",
		},
		{
			name: "users enable", args: []string{"users", "enable", "ada"},
			answers: map[string]answer{"POST /admin/v1/users/ada/enable": {200, adaJSON}},
			asked:   []string{`POST /admin/v1/users/ada/enable {}`}, stdout: "enabled ada (uid u1)\n",
		},
		{
			name: "users remove --yes", args: []string{"users", "remove", "a/b", "--yes"},
			answers: map[string]answer{"DELETE /admin/v1/users/a%2Fb": {200, doneJSON}},
			asked:   []string{`DELETE /admin/v1/users/a%2Fb {}`}, stdout: "removed a/b and ended all sessions: " + done + "\n",
		},
		{
			name: "sessions list", args: []string{"sessions", "list", "--user", "ada", "--ended"},
			answers: map[string]answer{"GET /admin/v1/sessions?ended=true&limit=1000&user=ada": {200, `{"sessions":[` + sessionJSON + `]}`}},
			asked:   []string{"GET /admin/v1/sessions?ended=true&limit=1000&user=ada"},
			stdout: `SID  USER  NAME  CLIENT    STATE  CREATED               LAST USED             EXPIRES               DEVICE
s1   u1    ada   demo-spa  live   2026-01-02T03:04:05Z  2026-01-02T03:05:05Z  2026-01-16T03:05:05Z  "curl/8\u202e"
`,
		},
		{
			name: "sessions end", args: []string{"sessions", "end", "s1"},
			answers: map[string]answer{"DELETE /admin/v1/sessions/s1": {202, pendingJSON}},
			asked:   []string{`DELETE /admin/v1/sessions/s1 {}`}, stdout: "ended the session s1: " + pending + "\n",
		},
		{
			name: "revoke sub", args: []string{"revoke", "sub", "ada", "--reason", "upstream", "--note", "n"},
			answers: map[string]answer{"POST /admin/v1/revocations": {200, doneJSON}},
			asked:   []string{`POST /admin/v1/revocations {"kind":"sub","value":"ada","reason":"upstream","note":"n"}`},
			stdout:  "revoked all sessions and tokens of ada: " + done + "\n",
		},
		{
			name: "revoke sid", args: []string{"revoke", "sid", "s1"},
			answers: map[string]answer{"POST /admin/v1/revocations": {202, pendingJSON}},
			asked:   []string{`POST /admin/v1/revocations {"kind":"sid","value":"s1"}`}, stdout: "revoked the session s1: " + pending + "\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := serveFake(t, c.answers)
			got := command(t, strings.NewReader(c.stdin), c.args...)
			if diff := cmp.Diff(ran{terminal.ExitOK, c.stdout, c.stderr}, got, cmp.AllowUnexported(ran{})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.asked, fake.asked); diff != "" {
				t.Errorf("asked: %s", diff)
			}
		})
	}
}

func TestJSONIsTheServersObject(t *testing.T) {
	readyJSON := `{"status":"degraded","degraded":["nats"],"checks":[{"name":"nats","ok":true,"degraded":true,"detail":"away"}]}`
	for _, c := range []struct {
		args         []string
		line, answer string
	}{
		{[]string{"users", "add", "ada"}, "POST /admin/v1/users", adaJSON},
		{[]string{"users", "show", "ada"}, "GET /admin/v1/users/ada", evilJSON},
		{[]string{"users", "set", "ada", "--role", "x"}, "PATCH /admin/v1/users/ada", adaJSON},
		{[]string{"users", "passwd", "ada"}, "POST /admin/v1/users/ada/password", pendingJSON},
		{[]string{"users", "passwd", "ada", "--keep-sessions"}, "POST /admin/v1/users/ada/password", doneJSON},
		{[]string{"users", "disable", "ada"}, "POST /admin/v1/users/ada/disable", againJSON},
		{[]string{"users", "enable", "ada"}, "POST /admin/v1/users/ada/enable", adaJSON},
		{[]string{"users", "remove", "ada", "--yes"}, "DELETE /admin/v1/users/ada", doneJSON},
		{[]string{"sessions", "list"}, "GET /admin/v1/sessions?limit=1000", `{"sessions":[` + sessionJSON + `]}`},
		{[]string{"sessions", "list"}, "GET /admin/v1/sessions?limit=1000", `{"sessions":[]}`},
		{[]string{"sessions", "end", "s1"}, "DELETE /admin/v1/sessions/s1", doneJSON},
		{[]string{"revoke", "sub", "ada"}, "POST /admin/v1/revocations", doneJSON},
		{[]string{"status"}, "GET /admin/v1/status", statusJSON},
		{[]string{"healthcheck"}, "GET /readyz?verbose=", readyJSON},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			serveFake(t, map[string]answer{c.line: {200, c.answer}})
			got := command(t, strings.NewReader(operatorPassword), append(c.args, "--output", "json")...)
			if got.code != terminal.ExitOK || got.stderr != "" {
				t.Fatalf("got %+v", got)
			}
			if diff := cmp.Diff(document(t, c.answer), document(t, got.stdout)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("pages are merged into one", func(t *testing.T) {
		serveFake(t, map[string]answer{
			"GET /admin/v1/users?limit=1000":          {200, `{"users":[` + adaJSON + `],"next":"u1"}`},
			"GET /admin/v1/users?after=u1&limit=1000": {200, `{"users":[` + evilJSON + `]}`},
		})
		got := command(t, nil, "users", "list", "--output", "json")
		if diff := cmp.Diff(document(t, `{"users":[`+adaJSON+`,`+evilJSON+`]}`), document(t, got.stdout)); diff != "" {
			t.Error(diff)
		}
	})
}
