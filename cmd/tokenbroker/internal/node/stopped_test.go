package node_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

const (
	stoppedIssuerEnv = "TOKENBROKER_TEST_STOPPED_ISSUER"
	stoppedNATSEnv   = "TOKENBROKER_TEST_STOPPED_NATS"
)

// TestAServiceProcessThatIsStopped stops a service with SIGSTOP for longer than the bound, while a
// session is logged off. After SIGCONT the service accepts the revoked token in no request, not even
// in one that arrived while it was stopped; then it judges tokens correctly again.
func TestAServiceProcessThatIsStopped(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	l.checkReady("ready")
	child := exec.Command(os.Args[0], "-test.run=^TestServiceOfTheStoppedProcess$")
	child.Env = append(os.Environ(), stoppedIssuerEnv+"="+l.node.Issuer(), stoppedNATSEnv+"="+l.natsURL())
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Signal(syscall.SIGCONT)
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := child.Wait(); err != nil {
			t.Errorf("the service: %v", err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "http://") {
		t.Fatalf("the service says %q, %v", line, err)
	}
	url := strings.TrimSpace(line)
	kept, ended := l.signIn(), l.signIn()
	eventually(t, "both are served", func() bool { return ask(t, url, kept) == 200 && ask(t, url, ended) == 200 })

	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Until one of its threads takes the signal, which needs a turn of the CPU, the others go on and may answer.
	var state syscall.WaitStatus
	if _, err := syscall.Wait4(child.Process.Pid, &state, syscall.WUNTRACED, nil); err != nil || !state.Stopped() {
		t.Fatalf("the service did not stop: %v, %v", state, err)
	}
	if status := ended.logOff(); status != http.StatusOK {
		t.Errorf("log-off: %d", status)
	}
	first := make(chan int, 8)
	for range cap(first) { // the requests wait in the service's socket
		go func() { first <- ask(t, url, ended) }()
	}
	<-time.After(1500 * time.Millisecond)
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range cap(first) {
		if status := <-first; status != http.StatusServiceUnavailable && status != http.StatusUnauthorized {
			t.Errorf("a request that came while it was stopped: %d", status)
		}
	}
	eventually(t, "it is exact again", func() bool {
		status := ask(t, url, ended)
		if status != http.StatusServiceUnavailable && status != http.StatusUnauthorized {
			t.Fatalf("a revoked token: %d", status)
		}
		return status == http.StatusUnauthorized && ask(t, url, kept) == http.StatusOK
	})
}

// ask sends a request with a session's token to a service and returns the status, or 0 without an
// answer.
func ask(t *testing.T, url string, b *browser) int {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+b.access)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestServiceOfTheStoppedProcess is not a test. It runs the service until its input ends.
func TestServiceOfTheStoppedProcess(t *testing.T) {
	issuer := os.Getenv(stoppedIssuerEnv)
	if issuer == "" {
		t.Skip("only run by TestAServiceProcessThatIsStopped")
	}
	v, err := validator.New(t.Context(), validator.Config{
		Issuer: issuer, Audience: "demo-api", Client: validator.Client{ID: service, Secret: secret},
		Feed: natsfeed.Feed{URL: os.Getenv(stoppedNATSEnv)}, MaxStaleness: time.Second * 5 / 4, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	server := httptest.NewServer(httpauth.Require(v)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	defer server.Close()
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
