package main

import (
	"net/http"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// setBack sets the engine back to an earlier state of all of its servers: the brokers that run end and name 'floor raise', which
// waits until they have certainly ended and makes a store in which no earlier session is valid. keep copies the data of the
// servers, and putBack replaces it by the copy; both restart them.
func (b *sharedBrokers) setBack(t *testing.T, keep, putBack func()) {
	t.Helper()
	for i := range 2 {
		b.start(t, i)
	}
	b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", "ada")
	signIn := func(i int) (v visit) {
		t.Helper()
		eventually(t, "a sign-in", func() (ok bool) { v, ok = trySignInAs(b.urls[i], "ada", "correct horse"); return ok })
		return v
	}
	kept, ended := signIn(0), signIn(1)
	for i := range 2 { // each broker has recorded a revocation
		if status := logOff(b.urls[i], signIn(i)); status != http.StatusOK && status != http.StatusAccepted {
			t.Fatalf("log-off: %d", status)
		}
	}
	keep()
	for i := range 2 {
		b.ready(t, i)
	}
	for _, v := range []visit{ended, signIn(0)} {
		if status := logOff(b.urls[1], v); status != http.StatusOK && status != http.StatusAccepted {
			t.Fatalf("log-off: %d", status)
		}
	}
	later := signIn(1)

	putBack()
	for i := range 2 {
		p := b.processes[i]
		eventually(t, "the broker ends", func() bool {
			select {
			case <-p.done:
				return true
			default:
				return false
			}
		})
		if out := p.out.String(); !strings.Contains(out, "rewound") || !strings.Contains(out, "tokenbroker floor raise") {
			t.Errorf("broker %d ended with:\n%s", i, out)
		}
	}
	raised := command(t, nil, "floor", "raise", "--config", b.config, "--yes")
	for _, want := range []string{"1 user", "The new store id is", "Start the brokers now.", `"event":"floor_raise"`, "waiting until it is certain"} {
		if raised.code != terminal.ExitOK || !strings.Contains(raised.stdout+raised.stderr, want) {
			t.Fatalf("floor raise: exit code %d, want %q:\n%s%s", raised.code, want, raised.stdout, raised.stderr)
		}
	}
	for i := range 2 {
		b.start(t, i)
		for name, v := range map[string]visit{"of before": kept, "that was logged off": ended, "of after": later} {
			if status, _ := refresh(b.urls[i], v); status != http.StatusUnauthorized {
				t.Errorf("refresh of a session %s at broker %d: %d", name, i, status)
			}
			if status, body, _ := ask(b.urls[i]+"/auth/verify/", jsonBody("token", v.access), ""); status != http.StatusUnauthorized {
				t.Errorf("a token %s at broker %d: %d: %s", name, i, status, body)
			}
		}
	}
	if status, _ := refresh(b.urls[0], signIn(1)); status != http.StatusOK {
		t.Errorf("refresh of a new session: %d", status)
	}
	for i := range 2 {
		b.processes[i].terminate(t)
	}
}
