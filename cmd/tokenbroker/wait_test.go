package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// waited returns doneJSON with the given receipts of services.
func waited(said string) string { return strings.TrimSuffix(doneJSON, "}") + "," + said + "}" }

func TestWaitReportsReceiptsOfServices(t *testing.T) {
	const done = "revoked all sessions and tokens of ada: recorded, and broadcast to the services\n"
	for _, c := range []struct{ name, said, text string }{
		{"all", `"applied":14,"of":14,"slowest_ms":6`, "applied by 14 of 14 services, slowest 6 ms\n"},
		{"all but one", `"applied":13,"of":14,"slowest_ms":6,"laggards":["billing/ab12cd34"]`, "applied by 13 of 14 services within 2s; not yet: billing/ab12cd34\n"},
		{"many more", `"applied":0,"of":300,"slowest_ms":0,"laggards":["a/1","b\u001b/2"]`, "applied by 0 of 300 services within 2s; not yet: a/1, \"b\\x1b/2\", and 298 more\n"},
		{"no service", `"applied":0,"of":0,"slowest_ms":0`, "no service was heard in the last 3 s: there is no service to wait for\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			serveFake(t, map[string]answer{"POST /admin/v1/revocations?wait=2s": {200, waited(c.said)}})
			want := ran{terminal.ExitOK, done + c.text, ""}
			if diff := cmp.Diff(want, command(t, nil, "revoke", "sub", "ada", "--wait", "2s"), cmp.AllowUnexported(ran{})); diff != "" {
				t.Error(diff)
			}
			got := command(t, nil, "revoke", "sub", "ada", "--wait", "2s", "--output", "json")
			if diff := cmp.Diff(document(t, waited(c.said)), document(t, got.stdout)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRevokingCommandsAcceptWait(t *testing.T) {
	for line, path := range map[string]string{
		"revoke sid " + aSID: "POST /admin/v1/revocations", "revoke client c1": "POST /admin/v1/revocations",
		"revoke all --yes": "POST /admin/v1/revocations", "sessions end " + aSID: "DELETE /admin/v1/sessions/" + aSID,
		"users disable ada": "POST /admin/v1/users/ada/disable", "users remove ada --yes": "DELETE /admin/v1/users/ada",
		"users passwd ada": "POST /admin/v1/users/ada/password", "keys revoke k1 --yes": "POST /admin/v1/keys/k1/revoke",
	} {
		t.Run(line, func(t *testing.T) {
			serveFake(t, map[string]answer{path + "?wait=500ms": {200, waited(`"applied":2,"of":2,"slowest_ms":3`)}})
			got := command(t, strings.NewReader(operatorPassword), append(strings.Fields(line), "--wait", "500ms")...)
			if got.code != terminal.ExitOK || !strings.HasSuffix(got.stdout, "\napplied by 2 of 2 services, slowest 3 ms\n") {
				t.Errorf("got %+v", got)
			}
			for _, bad := range []string{"0s", "11s", "-1s", "2", "soon"} {
				if got := command(t, nil, append(strings.Fields(line), "--wait="+bad)...); got.code != terminal.ExitUsage {
					t.Errorf("--wait=%s: %+v", bad, got)
				}
			}
		})
	}
}

// Only the last request for a file waits: a service that has applied it has applied all of them.
func TestFileOfRevocationsWaitsOnce(t *testing.T) {
	bulk := &bulkServer{}
	waits := make(chan string, 10)
	serveFake(t, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		waits <- r.URL.Query().Get("wait")
		rec := httptest.NewRecorder()
		bulk.ServeHTTP(rec, r)
		var answer map[string]any
		_ = json.Unmarshal(rec.Body.Bytes(), &answer)
		if r.URL.Query().Has("wait") {
			answer["applied"], answer["of"], answer["slowest_ms"] = 3, 3, 5
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	t.Setenv(adminclient.EnvAdmin, server.URL)
	var lines strings.Builder
	for i := range 2500 {
		_, _ = fmt.Fprintf(&lines, "01890000-0000-7000-8000-%012d\n", i)
	}
	got := command(t, strings.NewReader(lines.String()), "revoke", "--file", "-", "--kind", "jti", "--wait", "2s")
	if got.code != terminal.ExitOK || !strings.HasSuffix(got.stdout, "broadcast to the services\napplied by 3 of 3 services, slowest 5 ms\n") {
		t.Errorf("got %+v", got)
	}
	close(waits)
	var asked []string
	for wait := range waits {
		asked = append(asked, wait)
	}
	if diff := cmp.Diff([]string{"", "", "2s"}, asked); diff != "" {
		t.Error(diff)
	}
}
