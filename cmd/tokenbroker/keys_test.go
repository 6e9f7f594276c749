package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

const (
	keyListAnswer = `{"now":"2026-03-01T00:00:00Z","rotate_every":"720h0m0s","keys":[
{"kid":"kactive","purpose":"access","algorithm":"ES256","state":"active","created":"2026-02-18T12:00:00Z","activates":"2026-02-18T12:00:00Z","next_step":"retires","next_step_at":"2026-03-20T12:00:00Z"},
{"kid":"knext","purpose":"access","algorithm":"EdDSA","state":"next","created":"2026-02-28T23:58:30Z","next_step":"signs","next_step_at":"2026-03-01T00:03:30Z"},
{"kid":"kold\u202e","purpose":"feed","algorithm":"EdDSA","state":"compromised","created":"2026-02-27T00:00:00Z"},
{"kid":"m1","purpose":"master","algorithm":"HKDF-SHA256","state":"retiring","created":"2026-02-28T20:15:00Z","next_step":"is removed","next_step_at":"2026-02-28T23:59:59Z"}],
"overdue":{"purposes":["access"],"since":"2026-02-28T00:00:00Z","old_key_until":"2026-04-01T00:00:00Z"}}`
	keyTable = `KID           PURPOSE  ALGORITHM    STATE        AGE    NEXT STEP
kactive       access   ES256        active       10d    retires in 19d (2026-03-20T12:00:00Z)
knext         access   EdDSA        next         1m30s  signs in 3m30s (2026-03-01T00:03:30Z)
"kold\u202e"  feed     EdDSA        compromised  2d0h   -
m1            master   HKDF-SHA256  retiring     3h45m  is removed now

Rotated every 30d.
OVERDUE since 2026-02-28T00:00:00Z: the rotation of access fails; see the server's log for the reason. The old key still signs, and is valid until 2026-04-01T00:00:00Z.
`
)

func rotatedAnswer(scheduled, changed string) string {
	return `{"purpose":"access","active":{"kid":"k1","purpose":"access","algorithm":"ES256","state":"active"},"next":{"kid":"k2","purpose":"access","algorithm":"EdDSA","state":"next"},"signs":"2026-03-01T00:05:00Z","scheduled":` + scheduled + `,"changed":` + changed + `}`
}

func TestKeysCommands(t *testing.T) {
	const rotate, reseal = "POST /admin/v1/keys/rotate", "POST /admin/v1/keys/reseal"
	for name, c := range map[string]struct {
		args          []string
		asked, answer string
		body, stdout  string
	}{
		"list": {[]string{"keys", "list"}, "GET /admin/v1/keys", keyListAnswer, "", keyTable},
		"rotate": {
			[]string{"keys", "rotate", "--yes"}, rotate, rotatedAnswer("false", "true"), `{"purpose":"access"}`, "rotated: the access key k1 (ES256) signs\n",
		},
		"rotate, not ripe": {
			[]string{"keys", "rotate", "--yes", "--algorithm", "EdDSA", "--note", "n"}, rotate, rotatedAnswer("true", "true"), `{"purpose":"access","algorithm":"EdDSA","note":"n"}`,
			"scheduled: k2 (EdDSA) signs from 2026-03-01T00:05:00Z on, when every service knows it; until then the access key k1 does\n",
		},
		"rotate, asked before": {
			[]string{"keys", "rotate", "--yes"}, rotate, rotatedAnswer("true", "false"), `{"purpose":"access"}`,
			"No change: k2 (EdDSA) signs from 2026-03-01T00:05:00Z on\n",
		},
		"rotate, done before": {
			[]string{"keys", "rotate", "--yes"}, rotate, rotatedAnswer("false", "false"), `{"purpose":"access"}`,
			"No change: the access key k1 (ES256) signs since 2026-03-01T00:05:00Z\n",
		},
		"rotate the master secret": {
			[]string{"keys", "rotate", "--yes", "--purpose", "master"}, rotate, `{"purpose":"master","active":{"kid":"m2","purpose":"master","algorithm":"HKDF-SHA256","state":"active"},"signs":"2026-03-01T00:05:00Z","scheduled":false,"changed":true}`, `{"purpose":"master"}`,
			"rotated the master secret: m2 is in use; the old one is accepted until the last session made with it ends\n",
		},
		"rotate the master secret, not yet": {
			[]string{"keys", "rotate", "--yes", "--purpose", "master"}, rotate, `{"purpose":"master","active":{"kid":"m2","purpose":"master","algorithm":"HKDF-SHA256","state":"active"},"next":{"kid":"m3","purpose":"master","algorithm":"HKDF-SHA256","state":"next"},"signs":"2026-03-01T00:05:00Z","scheduled":true,"changed":true}`, `{"purpose":"master"}`,
			"scheduled: the master secret m3 is in use from 2026-03-01T00:05:00Z on\n",
		},
		"revoke": {
			[]string{"keys", "revoke", "k1", "--yes", "--note", "n", "--reason", "revoked"}, "POST /admin/v1/keys/k1/revoke",
			`{"kind":"kid","value":"k1","changed":true,"broadcast":true,"purpose":"access","successor":"k2"}`, `{"reason":"revoked","note":"n"}`,
			"revoked the key k1; k2 signs: recorded, and broadcast to the services\n",
		},
		"reseal": {
			[]string{"keys", "reseal"}, reseal, `{"kek_file":"/data/kek"}`, `{}`, "resealed: the KEK is now /data/kek\n",
		},
		"reseal by a file": {
			[]string{"keys", "reseal", "--kek-file", "/etc/new", "--note", "n"}, reseal, `{"kek_file":"/etc/new","todo":"set keyring.kek_file to /etc/new"}`, `{"kek_file":"/etc/new","note":"n"}`,
			"resealed: the KEK is now /etc/new\nTO DO before the next start: set keyring.kek_file to /etc/new\n",
		},
		"export": {
			[]string{"keys", "export-jwks", "--purpose", "feed"}, "GET /admin/v1/keys/jwks?purpose=feed", `{"keys":[],"store":"s"}`, "",
			"{\n  \"keys\": [],\n  \"store\": \"s\"\n}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := serveFake(t, map[string]answer{c.asked: {200, c.answer}})
			got := command(t, nil, c.args...)
			if diff := cmp.Diff(ran{terminal.ExitOK, c.stdout, ""}, got, cmp.AllowUnexported(ran{})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{strings.TrimSpace(c.asked + " " + c.body)}, fake.asked); diff != "" {
				t.Error(diff)
			}
			got = command(t, nil, append(c.args, "--output", "json")...)
			if got.code != terminal.ExitOK || cmp.Diff(document(t, c.answer), document(t, got.stdout)) != "" {
				t.Errorf("%d %s\n%s", got.code, got.stderr, cmp.Diff(document(t, c.answer), document(t, got.stdout)))
			}
		})
	}
}

// A relative --kek-file is the operator's; the server has another working directory.
func TestKeysResealSendsAnAbsolutePath(t *testing.T) {
	fake := serveFake(t, map[string]answer{"POST /admin/v1/keys/reseal": {200, `{"kek_file":"x"}`}})
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	command(t, nil, "keys", "reseal", "--kek-file", "new")
	if want := `POST /admin/v1/keys/reseal {"kek_file":"` + filepath.Join(dir, "new") + `"}`; len(fake.asked) != 1 || fake.asked[0] != want {
		t.Errorf("asked %q, want %q", fake.asked, want)
	}
}

func TestKeysCommandsRequireYes(t *testing.T) {
	for _, args := range [][]string{{"keys", "rotate"}, {"keys", "revoke", "k1"}} {
		fake := serveFake(t, nil)
		if got := command(t, nil, args...); got.code != terminal.ExitUsage || !strings.Contains(got.stderr, "--yes") || len(fake.asked) != 0 {
			t.Errorf("%v: %+v, asked %v", args, got, fake.asked)
		}
	}
	serveFake(t, nil)
	if got := command(t, nil, "keys", "revoke", "--yes"); got.code != terminal.ExitUsage || !strings.Contains(got.stderr, "KID") {
		t.Errorf("without a key: %+v", got)
	}
	withoutServers(t)
	if got := command(t, nil, "keys", "list"); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "no server") {
		t.Errorf("without a server: %+v", got)
	}
}
