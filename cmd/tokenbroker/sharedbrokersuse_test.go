package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
)

// sharedEngine is what the servers of an engine do while brokers use them.
type sharedEngine interface {
	// shown reports whether the output of status shows the servers, and failureShown whether it shows the result of fail.
	shown(status string) bool
	failureShown(status string) bool
	// elsewhere is the key of the configuration by which brokers use another store of the engine.
	elsewhere() string
	// fail ends the server that the brokers cannot do without, which another one then replaces.
	fail(t *testing.T)
	// stop ends all servers.
	stop(t *testing.T)
}

// use runs three brokers: every request works at any broker. Then 16 clients refresh and log off while a broker is killed and
// started again and a server of the engine fails: no client is signed out, and every acknowledged log-off holds.
func (b *sharedBrokers) use(t *testing.T, e sharedEngine) {
	t.Helper()
	for i := range b.processes {
		b.start(t, i)
	}
	b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", "ada", "--role", "staff")
	for i := range clients { // the sessions that one user may open in a minute are limited
		b.operate(t, 0, terminal.ExitOK, "correct horse\n", "users", "add", fmt.Sprint("client", i))
	}
	b.anyBroker(t)
	b.operators(t, e)
	b.killUnderLoad(t, e)
	eventually(t, "status shows the server that failed", func() bool {
		return e.failureShown(b.operate(t, 0, terminal.ExitOK, "", "status"))
	})
	b.stopInAnOutage(t, e)
}

// stopInAnOutage stops the brokers while the engine is away and log-offs wait for it. Each exits with 0.
func (b *sharedBrokers) stopInAnOutage(t *testing.T, e sharedEngine) {
	t.Helper()
	var visits []visit
	for range b.processes {
		var v visit
		eventually(t, "a sign-in", func() (ok bool) { v, ok = trySignInAs(b.issuer, "ada", "correct horse"); return ok })
		visits = append(visits, v)
	}
	e.stop(t)
	var waiting sync.WaitGroup
	for i, v := range visits {
		waiting.Go(func() {
			status, _, _ := request(b.urls[i]+"/auth/logoff/", jsonBody("CSRF_token", v.csrf), v.cookie)
			if status == http.StatusOK || status == http.StatusAccepted {
				t.Errorf("a log-off without the engine: %d", status)
			}
		})
	}
	for _, p := range b.processes {
		p.terminate(t)
	}
	waiting.Wait()
}

// anyBroker sends each request of a session to another broker, and has a service check the access token.
func (b *sharedBrokers) anyBroker(t *testing.T) {
	t.Helper()
	verify := func(i int, v visit, want int) {
		t.Helper()
		if status, body, _ := ask(b.urls[i]+"/auth/verify/", jsonBody("token", v.access), ""); status != want {
			t.Errorf("verify at broker %d: %d, want %d: %s", i, status, want, body)
		}
	}
	service, err := validator.New(t.Context(), validator.Config{
		Issuer: b.issuer, Audience: "api", Client: validator.Client{ID: "service", Secret: "0123456789abcdef0123456789abcdef"},
		Feed: natsfeed.Feed{URL: b.nats}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	for i := range b.urls {
		second, third := b.urls[(i+1)%3], b.urls[(i+2)%3]
		var v visit
		eventually(t, "a sign-in", func() (ok bool) { v, ok = trySignInAs(b.urls[i], "ada", "correct horse"); return ok })
		for at := range b.urls {
			verify(at, v, http.StatusOK)
		}
		eventually(t, "the service accepts the token", func() bool { _, err := service.Validate(t.Context(), v.access); return err == nil })
		if status, _ := refresh(second, v); status != http.StatusOK {
			t.Errorf("refresh at another broker: %d", status)
		}
		if status, _ := refresh(third, v); status != http.StatusOK { // within the grace
			t.Errorf("the same refresh at the third broker: %d", status)
		}
		if status := logOff(third, v); status != http.StatusOK && status != http.StatusAccepted {
			t.Errorf("log-off at the third broker: %d", status)
		}
		eventually(t, "the service refuses the token", func() bool {
			_, err := service.Validate(t.Context(), v.access)
			return errors.Is(err, validator.ErrRevoked)
		})
		for at := range b.urls {
			verify(at, v, http.StatusUnauthorized)
			if status, _ := refresh(b.urls[at], v); status != http.StatusUnauthorized {
				t.Errorf("refresh at broker %d after the log-off: %d", at, status)
			}
		}
	}
}

// operators asks for what operators see of the brokers and the engine.
func (b *sharedBrokers) operators(t *testing.T, e sharedEngine) {
	t.Helper()
	for i := range b.processes {
		eventually(t, "status shows all brokers and servers", func() bool {
			out := b.operate(t, i, terminal.ExitOK, "", "status")
			return strings.Count(out, ", running since ") == 3 && e.shown(out)
		})
	}
	if out := b.operate(t, 1, terminal.ExitOK, "", "backup", filepath.Join(b.dir, "backup")); !strings.Contains(out, "backed up ") {
		t.Errorf("backup: %s", out)
	}
	for refusal, command := range map[string][]string{
		e.elsewhere(): {"restore", filepath.Join(b.dir, "backup")}, "stop all brokers first": {"floor", "raise"},
	} {
		var errs bytes.Buffer
		if code := run(t.Context(), append(command, "--config", b.config, "--yes"), strings.NewReader(""), io.Discard, &errs); code != terminal.ExitFailed || !strings.Contains(errs.String(), refusal) || !strings.Contains(errs.String(), "nothing was changed") {
			t.Errorf("%v: exit code %d: %s", command, code, errs.String())
		}
	}
	for name, args := range map[string][]string{
		"another running broker has the same name":              {"--set", "store.broker_name=b1"},
		"another running broker has another key encryption key": {"--set", "keyring.kek_file=" + b.otherKEK(t)},
	} {
		var errs bytes.Buffer
		flags := append([]string{"serve"}, b.flags(0)...)
		flags = append(flags, "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(b.dir, "other"), "--set", "store.broker_name=b9")
		if code := Main(t.Context(), append(flags, args...), io.Discard, &errs); code != terminal.ExitFailed || !strings.Contains(errs.String(), name) {
			t.Errorf("want %q, got exit code %d: %s", name, code, errs.String())
		}
	}
}

func (b *sharedBrokers) otherKEK(t *testing.T) string {
	t.Helper()
	path := filepath.Join(b.dir, "other-kek")
	if err := os.WriteFile(path, []byte("ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// killUnderLoad kills and restarts a broker, and then has a server of the engine fail, while clients refresh and log off.
func (b *sharedBrokers) killUnderLoad(t *testing.T, e sharedEngine) {
	t.Helper()
	var (
		answered, stop  atomic.Int64
		mu              sync.Mutex
		loggedOff, kept []visit
		wg              sync.WaitGroup
	)
	for c := range clients {
		wg.Go(func() {
			user := fmt.Sprint("client", c)
			var v visit
			for i := 1; stop.Load() == 0; i++ {
				if v.cookie == "" {
					var ok bool
					if v, ok = trySignInAs(b.issuer, user, "correct horse"); !ok {
						time.Sleep(50 * time.Millisecond) // a client's pause
						continue
					}
				}
				status, next := refresh(b.issuer, v)
				if status != http.StatusOK {
					t.Errorf("a client was signed out: %d", status)
					return
				}
				v = next
				answered.Add(1)
				if i%32 == 0 {
					if status := logOff(b.issuer, v); status != http.StatusOK && status != http.StatusAccepted {
						t.Errorf("log-off: %d", status)
					}
					mu.Lock()
					loggedOff = append(loggedOff, v)
					mu.Unlock()
					v = visit{}
				}
			}
			if v.cookie != "" {
				mu.Lock()
				kept = append(kept, v)
				mu.Unlock()
			}
		})
	}
	more := func(what string) {
		goal := answered.Load() + 8*clients
		eventually(t, "refreshes "+what, func() bool { return answered.Load() >= goal || t.Failed() })
	}
	more("before any failure")
	b.processes[1].kill(t)
	more("after a broker was killed")
	b.balanced(t)
	b.start(t, 1)
	more("after it was started again")
	e.fail(t)
	more("after a server of the engine has failed")
	stop.Store(1)
	wg.Wait()
	t.Logf("%d refreshes, %d log-offs, %d sessions kept", answered.Load(), len(loggedOff), len(kept))
	for i, v := range append(loggedOff, kept...) {
		want := http.StatusOK
		if i < len(loggedOff) {
			want = http.StatusUnauthorized
		}
		if status, _ := refresh(b.issuer, v); status != want {
			t.Errorf("a session refreshes with %d at the end, want %d", status, want)
		}
	}
}
