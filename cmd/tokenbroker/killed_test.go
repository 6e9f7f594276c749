package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tokenbroker/broker/password"
	"tokenbroker/cmd/tokenbroker/benchcmd"
	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
)

var kills = flag.Int("kills", longtest.Pick(3, 30), "how often TestKilledUnderLoad kills the broker")

// childEnv makes the test binary run the real command line instead of the tests: with "bench"
// that of tokenbroker-bench, else that of tokenbroker.
const childEnv = "TEST_CHILD_OF_TOKENBROKER"

// TestMain makes password checks cheap in all brokers of the tests, including those in separate processes.
func TestMain(m *testing.M) {
	password.DefaultParams = password.Params{Memory: 64, Time: 1, Threads: 1}
	if program := os.Getenv(childEnv); program != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		var code int
		if program == "bench" {
			code = benchcmd.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
		} else {
			code = Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
		}
		stop()
		os.Exit(code)
	}
	os.Exit(runTests(m))
}

// runTests keeps the pointer files of the tests' devs out of this user's cache directory,
// and Go's cache where it is.
func runTests(m *testing.M) int {
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "tokenbroker-test-*")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for name, value := range map[string]string{"GOCACHE": strings.TrimSpace(string(cache)), "XDG_CACHE_HOME": dir} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	return m.Run()
}

// readyDev is the last line of dev's banner.
const readyDev = "Stop with Ctrl-C"

// visit is one session as its browser saw it.
type visit struct {
	access, csrf, cookie string
	// loggedOff means that a log-off was answered, asked that one was sent, answered or not.
	loggedOff, asked bool
}

// TestKilledUnderLoad checks that every acknowledged change survives a SIGKILL. No session that was logged
// off comes back, no session that was answered is lost, and a validator that ran throughout refuses the
// tokens of each session that was logged off.
func TestKilledUnderLoad(t *testing.T) {
	needDev(t)
	longtest.SkipShort(t, "kills a broker several times")
	t.Parallel()
	ports := freeport.Take(t, 4)
	issuer := "http://127.0.0.1:" + ports[0]
	args := []string{"dev", "--data-dir", filepath.Join(t.TempDir(), "data"), "--log-level", "error",
		"--listen", "127.0.0.1:" + ports[0], "--admin-listen", "127.0.0.1:" + ports[1],
		"--sample-listen", "127.0.0.1:" + ports[2] + ",127.0.0.1:0,127.0.0.1:0", "--nats-listen", "127.0.0.1:" + ports[3], "--idp-listen", "127.0.0.1:0"}
	c := startBroker(t, readyDev, args...)
	service, err := validator.New(t.Context(), validator.Config{
		Issuer: issuer, Audience: devserver.Audience, Client: validator.Client{ID: devserver.ServiceClient, Secret: devserver.ServiceSecret},
		Feed: natsfeed.Feed{URL: "nats://127.0.0.1:" + ports[3]}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()

	var ended []visit // of all rounds
	for round := range *kills {
		visits := loadUntilKilled(t, c, issuer)
		c = startBroker(t, readyDev, args...)
		off, kept, unanswered := 0, 0, 0
		for _, v := range visits {
			status := tryRefresh(t, issuer, v)
			switch {
			case v.loggedOff && status != http.StatusUnauthorized:
				t.Errorf("round %d: a logged-off session refreshes: %d", round, status)
			case !v.asked && status != http.StatusOK:
				t.Errorf("round %d: an answered session is lost: %d", round, status)
			case status != http.StatusOK && status != http.StatusUnauthorized:
				t.Errorf("round %d: a session whose log-off was not answered: %d", round, status)
			case v.loggedOff:
				off++
			case !v.asked:
				kept++
			default: // ended or alive, but the same for the broker and for services
				unanswered++
			}
			if status == http.StatusUnauthorized {
				ended = append(ended, v)
				continue
			}
			eventually(t, "the service accepts the token of a living session", func() bool {
				_, err := service.Validate(t.Context(), v.access)
				if errors.Is(err, validator.ErrRevoked) {
					t.Fatalf("round %d: a living session's token: %v", round, err)
				}
				return err == nil
			})
		}
		for _, v := range ended {
			eventually(t, "the service refuses the token of an ended session", func() bool {
				_, err := service.Validate(t.Context(), v.access)
				return errors.Is(err, validator.ErrRevoked) || errors.Is(err, validator.ErrExpired) // in a long run
			})
			if status := tryRefresh(t, issuer, v); status != http.StatusUnauthorized {
				t.Errorf("round %d: a session that had ended: %d", round, status)
			}
		}
		t.Logf("round %d: %d log-offs acknowledged and held, %d sessions kept, %d log-offs cut off, of %d",
			round, off, kept, unanswered, len(visits))
		if off == 0 {
			t.Error("no log-off was acknowledged before the kill")
		}
	}
	c.terminate(t)
}

// clients is how many browsers sign in and log off at once.
const clients = 16

// loadUntilKilled lets the browsers sign in and log off until the broker is killed.
func loadUntilKilled(t *testing.T, c *process, issuer string) []visit {
	t.Helper()
	var (
		mu     sync.Mutex
		visits []visit
		wg     sync.WaitGroup
	)
	enough, limit := make(chan struct{}), clients+rand.IntN(2*clients)
	var once sync.Once
	for range clients {
		wg.Go(func() {
			for i := 0; ; i++ {
				v, ok := trySignIn(issuer)
				if !ok {
					return
				}
				if i%2 == 0 {
					v.asked = true
					v.loggedOff = tryLogOff(issuer, v)
				}
				mu.Lock()
				visits = append(visits, v)
				if len(visits) > limit {
					once.Do(func() { close(enough) })
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	c.kill(t)
	wg.Wait()
	return visits
}

func trySignIn(issuer string) (visit, bool) {
	return trySignInAs(issuer, devserver.User, devserver.Password)
}

func trySignInAs(issuer, user, password string) (visit, bool) {
	status, body, cookies := request(issuer+"/auth/sign-in/", fmt.Sprintf(`{"username": %q, "password": %q}`, user, password), "")
	if status != http.StatusOK || len(cookies) != 1 {
		return visit{}, false
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		CSRFToken   string `json:"CSRF_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return visit{}, false
	}
	return visit{access: answer.AccessToken, csrf: answer.CSRFToken, cookie: cookies[0].Name + "=" + cookies[0].Value}, true
}

func tryLogOff(issuer string, v visit) bool {
	status, _, _ := request(issuer+"/auth/logoff/", jsonBody("CSRF_token", v.csrf), v.cookie)
	return status == http.StatusOK || status == http.StatusAccepted
}

func tryRefresh(t *testing.T, issuer string, v visit) int {
	t.Helper()
	status, _, _ := request(issuer+"/auth/refresh/", jsonBody("CSRF_token", v.csrf), v.cookie)
	return status
}

// request posts JSON; a broken connection is status 0.
func request(url, body, cookie string) (int, []byte, []*http.Cookie) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil
	}
	req.Header.Set("Content-Type", "application/json")
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, nil
	}
	return resp.StatusCode, answer, resp.Cookies()
}
