package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
	"tokenbroker/store/etcdstore/member"
)

// devBrokers is `tokenbroker dev --brokers 3` as a process of its own.
type devBrokers struct {
	*process
	dir, issuer string
	pointer     string // the file by which operators' commands find a broker
	env         []string
	args        []string
}

// devProcess is an entry of processes.json.
type devProcess struct {
	Name, URL, Admin string
	PID              int
}

func newDevBrokers(t *testing.T) *devBrokers {
	t.Helper()
	needDev(t)
	dir := t.TempDir()
	d := &devBrokers{
		dir: filepath.Join(dir, "data"), pointer: filepath.Join(dir, "cache", "tokenbroker", "dev.json"),
		env: []string{childEnv + "=1", "XDG_CACHE_HOME=" + filepath.Join(dir, "cache")},
	}
	ports := freeport.Take(t, 1)
	d.issuer = "http://127.0.0.1:" + ports[0]
	d.args = []string{"dev", "--brokers", "3", "--data-dir", d.dir, "--listen", "127.0.0.1:" + ports[0], "--admin-listen", "127.0.0.1:0",
		"--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}
	return d
}

func (d *devBrokers) start(t *testing.T, args ...string) {
	t.Helper()
	d.process = startProcess(t, readyDev, d.env, os.Args[0], append(d.args, args...)...)
}

// list reads processes.json.
func (d *devBrokers) list(t *testing.T) (brokers, etcd []devProcess) {
	t.Helper()
	var all struct{ Brokers, Etcd []devProcess }
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(d.dir, "processes.json"))), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Brokers) != 3 || len(all.Etcd) != 3 {
		t.Fatalf("processes.json has %d brokers and %d members", len(all.Brokers), len(all.Etcd))
	}
	return all.Brokers, all.Etcd
}

// signal sends a signal to a listed process.
func (d *devBrokers) signal(t *testing.T, p devProcess, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(p.PID, s); err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
}

// tours pastes both blocks of commands of the banner, again if a broker could not answer for a moment, as after the death of
// the leader of the etcd cluster, or if a service on a busy machine has not applied the log-off in time.
func (d *devBrokers) tours(t *testing.T) {
	t.Helper()
	_, text, _ := strings.Cut(d.out.String(), "in another terminal:\n")
	first, rest, _ := strings.Cut(text, "These processes run")
	_, rest, _ = strings.Cut(rest, "every half second:\n")
	loop, _, _ := strings.Cut(rest, "Then kill")
	paste := func(commands string) (out string) {
		eventually(t, "the brokers answer", func() bool {
			out = runPasted(t, commands)
			return !strings.Contains(out, `"code":"unavailable"`) && !strings.Contains(out, `"laggards"`) && !strings.Contains(out, "refresh 503")
		})
		return out
	}
	out := paste(first)
	for _, want := range []string{`"access_token":`, " 200 OK", `"hello":`, " 401 Unauthorized", `"code":"token_revoked"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the banner's commands printed no %s:\n%s", want, out)
		}
	}
	out = paste(strings.NewReplacer("seq 600", "seq 6", "sleep 0.5", ":").Replace(loop))
	if strings.Count(out, "refresh 200, hello 200\n") != 6 {
		t.Errorf("the banner's loop printed:\n%s", out)
	}
}

// operate runs an operator's command as a process that finds the server without a flag.
func (d *devBrokers) operate(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), d.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestDevWithSeveralBrokers kills a broker, a member of the etcd cluster and then the whole dev, and starts it again with
// the same data.
func TestDevWithSeveralBrokers(t *testing.T) {
	t.Parallel()
	longtest.SkipShort(t, "starts three brokers and three etcd members as processes, twice")
	d := newDevBrokers(t)
	d.start(t)
	d.tours(t)
	b := newBrowser(t, d.issuer)
	csrf := b.post("/auth/sign-in/", `{"username": "admin", "password": "admin"}`, http.StatusOK)["CSRF_token"].(string)
	d.seesClients(t)
	newBrowser(t, d.issuer).hostedUI("ada", "ada")

	brokers, etcd := d.list(t)
	for _, p := range append(brokers, etcd...) {
		if group, err := syscall.Getpgid(p.PID); err != nil || group != p.PID {
			t.Errorf("%s: process group %d, %v, want its own, so that Ctrl-C in a terminal does not reach it", p.Name, group, err)
		}
	}
	killed := slices.IndexFunc(brokers, func(b devProcess) bool { // the one that operators' commands would ask
		return strings.Contains(readFile(t, d.pointer), "/"+b.Name+"/")
	})
	if killed < 0 {
		t.Fatal("the pointer names no broker")
	}
	d.signal(t, brokers[killed], syscall.SIGKILL)
	d.signal(t, etcd[2], syscall.SIGKILL)
	eventually(t, "processes.json shows what ended", func() bool {
		brokers, etcd := d.list(t)
		return brokers[killed].PID == 0 && brokers[(killed+1)%3].PID != 0 && etcd[2].PID == 0 && etcd[1].PID != 0
	})
	for _, want := range []string{
		fmt.Sprintf("%s (pid %d) ended: signal: killed; the others continue", brokers[killed].Name, brokers[killed].PID),
		fmt.Sprintf("etcd-3 (pid %d) ended: signal: killed; the others continue", etcd[2].PID),
	} {
		eventually(t, want, func() bool { return strings.Contains(d.out.String(), want) })
	}
	d.tours(t)
	t.Run("operators", func(t *testing.T) {
		if out := d.operate(t, "status"); !strings.Contains(out, d.issuer) || strings.Count(out, ", running since ") < 2 {
			t.Errorf("status: %s", out)
		}
		d.operate(t, "users", "list")
		d.operate(t, "revoke", "client", "demo-service")
		d.operate(t, "doctor")
	})
	t.Run("the demo page", func(t *testing.T) {
		page := startBrowser(t)
		page.navigate(d.issuer + "/")
		page.until("the form", signedOut)
		page.run("document.querySelector('[name=password]').value = 'admin'; " + submit)
		page.until("signed in", signedIn)
		page.until("the services accept the token", accepting)
		page.run(click("log-off"))
		page.until("three services refuse the token", refusing)
		page.until("the receipts are counted", shows("receipts", "3 of 3 services have applied it"))
	})
	b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusOK)

	checkBody(t, d.issuer+"/", "tokenbroker")

	brokers, etcd = d.list(t)
	if runtime.GOOS == "linux" { // where the kernel kills also a process that is stopped
		d.signal(t, etcd[1], syscall.SIGSTOP)
	}
	d.kill(t)
	for _, p := range append(brokers, etcd...) {
		if p.PID != 0 {
			eventually(t, p.Name+" ends with dev", func() bool { return syscall.Kill(p.PID, 0) != nil })
		}
	}

	d.start(t, "--restart-after", "100ms")
	b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusOK)
	brokers, etcd = d.list(t)
	d.signal(t, brokers[1], syscall.SIGTERM) // one that was killed waits for 6 s
	d.signal(t, etcd[0], syscall.SIGKILL)
	eventually(t, "both run again", func() bool {
		out := d.out.String()
		return strings.Contains(out, "broker-2 runs again") && strings.Contains(out, "etcd-1 runs again")
	})
	brokersNow, etcdNow := d.list(t)
	if now := brokersNow[1]; now.PID == brokers[1].PID || now.URL != brokers[1].URL || now.Admin != brokers[1].Admin {
		t.Errorf("broker-2 is %+v, and was %+v", now, brokers[1])
	}
	if now := etcdNow[0]; now.PID == etcd[0].PID || now.URL != etcd[0].URL {
		t.Errorf("etcd-1 is %+v, and was %+v", now, etcd[0])
	}
	d.tours(t)
	d.terminate(t)
	if strings.Contains(d.out.String(), "the other brokers take this one for running") {
		t.Errorf("the etcd cluster ended before the brokers had drained:\n%s", d.out.String())
	}
	brokers, etcd = d.list(t)
	for _, p := range append(brokers, etcd...) {
		if p.PID != 0 {
			t.Errorf("after the end, processes.json has %+v", p)
		}
	}
}

// seesClients checks that the brokers see the address of a client, and not what it says about itself.
func (d *devBrokers) seesClients(t *testing.T) {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 5)}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	eventually(t, "the sign-in is answered", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.issuer+"/auth/sign-in/", strings.NewReader(`{"username": "admin", "password": "admin"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		req.Header.Set("X-Request-Id", "chosen-by-the-client")
		resp, err := client.Do(req)
		if err != nil {
			t.Skip("this system has only 127.0.0.1:", err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode != http.StatusServiceUnavailable
	})
	eventually(t, "the audit line", func() bool {
		return regexp.MustCompile(`event=sign_in addr=127\.0\.0\.5 `).MatchString(d.out.String())
	})
	if strings.Contains(d.out.String(), "203.0.113.9") || strings.Contains(d.out.String(), "chosen-by-the-client") {
		t.Error("a broker believes what a client says about itself")
	}
}

// A process that dev has started ends when its standard input does, which is the case when dev has ended in any way.
func TestDevProcessEndsWithItsStandardInput(t *testing.T) {
	t.Parallel()
	needDev(t)
	dir, ports := t.TempDir(), freeport.Take(t, 2)
	url := "http://127.0.0.1:" + ports[1]
	settings, err := json.Marshal(member.Config{Name: "etcd-1", Dir: filepath.Join(dir, "etcd-1"), ClientURL: "http://127.0.0.1:" + ports[0], PeerURL: url, Peers: map[string]string{"etcd-1": url}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "etcd-1.json")
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "dev", "etcd", file)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var report map[string]any
	if err := json.NewDecoder(stdout).Decode(&report); err != nil {
		t.Fatalf("the report of a member that is ready: %v", err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != terminal.ExitFailed {
		t.Errorf("it ended with %v", err)
	}
}

func TestDevBrokersShowsWhyAProcessDoesNotStart(t *testing.T) {
	t.Parallel()
	longtest.SkipShort(t, "starts three etcd members as processes")
	d := newDevBrokers(t)
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "broker-2"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], d.args...)
	cmd.Env = append(os.Environ(), d.env...)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != terminal.ExitFailed {
		t.Errorf("exit code %d, %v", code, err)
	}
	for _, want := range []string{"tokenbroker: starting broker-2: ", filepath.Join(d.dir, "broker-2") + ": not a directory", "broker-2: it ended before it was ready: exit status 1"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	brokers, etcd := d.list(t)
	for _, p := range append(brokers, etcd...) {
		if p.PID != 0 {
			t.Errorf("after the end, processes.json has %+v", p)
		}
	}
}

func TestDevBrokersRefusesWhatCannotStart(t *testing.T) {
	needDev(t)
	port, err := strconv.Atoi(freeport.Take(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"none":                  {[]string{"--brokers", "0"}, terminal.ExitUsage, "--brokers 0: want a number from 1 to 5"},
		"six":                   {[]string{"--brokers", "6"}, terminal.ExitUsage, "--brokers 6: want a number from 1 to 5"},
		"restart of one":        {[]string{"--restart-after", "5s"}, terminal.ExitUsage, "--restart-after 5s"},
		"no such port":          {[]string{"--brokers", "3", "--listen", "127.0.0.1:65300"}, terminal.ExitUsage, "--listen"},
		"the issuer's port":     {[]string{"--brokers", "3", "--listen", at(port)}, terminal.ExitFailed, "the proxy: " + at(port) + " is in use by another program; stop it or choose another address with --listen"},
		"a broker's port":       {[]string{"--brokers", "3", "--listen", at(port - 200)}, terminal.ExitFailed, " is in use by another program; stop it or choose another address with --listen"},
		"a broker's admin port": {[]string{"--brokers", "3", "--listen", "127.0.0.1:0", "--admin-listen", at(port - 300)}, terminal.ExitFailed, " is in use by another program; stop it or choose another address with --admin-listen"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"dev", "--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}, tc.args...)
			got := command(t, nil, args...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.want) {
				t.Errorf("exit code %d, %q; want %d, %q", got.code, got.stderr, tc.code, tc.want)
			}
		})
	}
}
