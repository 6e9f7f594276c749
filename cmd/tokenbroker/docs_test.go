package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
	"tokenbroker/store/pgstore/pgtest"
)

// A block with the fence "sh" is run. A block "sh (elsewhere)" needs something that tests do not have: the
// line above it says what. The number of such blocks is counted, so that an additional one is noticed.
const (
	fenceRun       = "sh"
	fenceElsewhere = "sh (elsewhere)"
)

// fence is a code block of a document.
type fence struct {
	info, text, above string // above is the last line of text before it
	line              int
}

// fences cuts the code blocks out of a file below docs/.
func fences(t *testing.T, file string) []fence {
	t.Helper()
	var (
		blocks []fence
		open   *fence
		above  string
	)
	for i, line := range strings.Split(readFile(t, filepath.Join("../../docs", file)), "\n") {
		info, ticks := strings.CutPrefix(line, "```")
		switch {
		case ticks && open == nil:
			open = &fence{info: info, above: above, line: i + 1}
		case ticks && info == "":
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += line + "\n"
		case strings.TrimSpace(line) != "":
			above = line
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: a block without an end", file, open.line)
	}
	return blocks
}

// TestDocsCommands runs the commands of a document in one shell, in their order, as a reader pastes them.
// The documented addresses are replaced by those of free ports.
func TestDocsCommands(t *testing.T) {
	longtest.SkipShort(t, "runs each command of the documents")
	for _, tool := range []string{"bash", "curl", "sed", "awk", "openssl", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for file, doc := range map[string]struct {
		elsewhere int
		start     func(p *paste, t *testing.T)
	}{
		"operate.md":               {elsewhere: 10, start: (*paste).serve},
		"backup.md":                {elsewhere: 4, start: (*paste).serve},
		"keys.md":                  {elsewhere: 0, start: (*paste).serve},
		"http.md":                  {elsewhere: 0, start: (*paste).dev},
		"spa.md":                   {elsewhere: 3, start: (*paste).dev},
		"bench.md":                 {elsewhere: 1, start: (*paste).dev},
		"migrating-from-django.md": {elsewhere: 1, start: (*paste).migrate},
		"guides/mobile-app.md":     {elsewhere: 0, start: (*paste).dev},
		"guides/mcp.md":            {elsewhere: 0, start: (*paste).dev},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			p := newPaste(t, file)
			elsewhere := 0
			for _, b := range fences(t, file) {
				switch {
				case b.info == fenceRun:
					p.blocks = append(p.blocks, b)
				case b.info == fenceElsewhere:
					elsewhere++
					if !strings.HasPrefix(b.above, "Needs ") {
						t.Errorf("%s:%d: the block is not run, and the line above does not say what it needs", file, b.line)
					}
				case strings.HasPrefix(b.info, "sh"), strings.HasPrefix(b.info, "bash"), strings.HasPrefix(b.info, "console"), b.info == "":
					t.Errorf("%s:%d: the fence is %q, want %q, %q or another language", file, b.line, b.info, fenceRun, fenceElsewhere)
				}
			}
			if elsewhere != doc.elsewhere {
				t.Errorf("%d blocks are not run, want %d", elsewhere, doc.elsewhere)
			}
			if len(p.blocks) == 0 {
				t.Fatal("no block to run")
			}
			doc.start(p, t)
			p.run(t)
		})
	}
}

// paste is a shell in its own directory, in which `tokenbroker` and `tokenbroker-bench` are the binary
// under test.
type paste struct {
	file, dir, curls string
	blocks           []fence
	env              []string
	// addresses are documented addresses, each followed by its replacement.
	addresses []string
}

// newPaste creates the directory. Its path is short, because it will hold a unix socket.
func newPaste(t *testing.T, file string) *paste {
	t.Helper()
	dir, err := os.MkdirTemp("", "tbdocs") //nolint:usetesting // t.TempDir is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &paste{file: file, dir: dir, curls: filepath.Join(dir, ".curls")}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal(err)
	}
	// curl writes the status of each response to a file, so that an error response fails the test. The
	// flags of shortly come last and take precedence, so that a benchmark measures for a short time.
	for name, script := range map[string]string{
		"tokenbroker":       fmt.Sprintf("#!/bin/sh\n%s=1 exec %q \"$@\"\n", childEnv, os.Args[0]),
		"tokenbroker-bench": fmt.Sprintf("#!/bin/sh\n%s=bench exec %q \"$@\" %s\n", childEnv, os.Args[0], strings.Join(shortly, " ")),
		"curl":              fmt.Sprintf("#!/bin/sh\nexec %q -sS -w '%%{stderr}\\nstatus %%{http_code}\\n' --max-time 10 \"$@\" 2>>%q\n", curl, p.curls),
	} {
		path := filepath.Join(dir, ".bin", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TOKENBROKER_") {
			p.env = append(p.env, v)
		}
	}
	p.env = append(p.env, "PATH="+filepath.Join(dir, ".bin")+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_CACHE_HOME="+filepath.Join(dir, ".cache"))
	return p
}

// dev runs `dev --data-dir dev-data`, as the document requires it.
func (p *paste) dev(t *testing.T) {
	dev := startDev(t, "--data-dir", filepath.Join(p.dir, "dev-data"))
	bare := func(url string) string { return strings.TrimPrefix(url, "http://") }
	p.addresses = []string{
		"127.0.0.1:8080", bare(dev.issuer), "127.0.0.1:8082", bare(dev.sample),
		"127.0.0.1:8081", strings.TrimSuffix(bare(dev.admin), "/metrics"),
		"127.0.0.1:9090", regexp.MustCompile(`Cognito \(dev\)\s+http://([^/]+)/`).FindStringSubmatch(dev.output.String())[1],
	}
	t.Cleanup(func() { dev.finish(t) })
}

// listeners returns free ports for a serve that the document starts.
func (p *paste) listeners(t *testing.T) (public string) {
	ports := freeport.Take(t, 3)
	for i, name := range []string{"LISTEN", "ADMIN_LISTEN", "NATS_LISTEN"} {
		address := "127.0.0.1:" + ports[i]
		p.env = append(p.env, "TOKENBROKER_"+name+"="+address)
		p.addresses = append(p.addresses, []string{"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:4222"}[i], address)
	}
	return "http://127.0.0.1:" + ports[0]
}

// serve prepares a document that starts its own broker with the file of `config init`.
func (p *paste) serve(t *testing.T) {
	p.env = append(p.env, "TOKENBROKER_PUBLIC_URL="+p.listeners(t))
}

// migrate prepares the document that replaces a settings.py by the file that it shows.
func (p *paste) migrate(t *testing.T) {
	p.listeners(t)
	for _, b := range fences(t, p.file) {
		if name, found := strings.CutPrefix(strings.SplitN(b.text, "\n", 2)[0], "# "); found && b.info == "yaml" && strings.HasSuffix(name, ".yaml") {
			if err := os.WriteFile(filepath.Join(p.dir, name), []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

var (
	wantStatus = regexp.MustCompile(`(?m)^# ([1-5][0-9]{2})\b`)
	wantCode   = regexp.MustCompile(`(?m)^# [45][0-9]{2} (\w+)`)
	gotStatus  = regexp.MustCompile(`(?m)^status ([0-9]{3})$`)
)

// run pastes all blocks. If comments of a block name statuses, its curls must get these in this order; the
// curls of other blocks must succeed.
func (p *paste) run(t *testing.T) {
	t.Helper()
	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n")
	for i, b := range p.blocks {
		fmt.Fprintf(&script, "echo '== %s:%d'; printf '\\nblock %d\\n' >>%q\n%s", p.file, b.line, i, p.curls, b.text)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.NewReplacer(p.addresses...).Replace(script.String()))
	cmd.Dir, cmd.Env, cmd.WaitDelay = p.dir, p.env, 10*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	hung := time.AfterFunc(4*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer hung.Stop()
	out, err := cmd.CombinedOutput()
	log := ""
	if err != nil {
		if text, readErr := os.ReadFile(p.curls); readErr == nil {
			log = string(text)
		}
		t.Fatalf("%v; the last block named is the one that failed:\n%s\n%s", err, out, log)
	}
	log = readFile(t, p.curls)
	printed := strings.Split(string(out), "== "+p.file)[1:]
	for i, part := range strings.Split(log, "\nblock ")[1:] {
		b := p.blocks[i]
		for _, code := range wantCode.FindAllStringSubmatch(b.text, -1) {
			if !strings.Contains(printed[i], code[1]) {
				t.Errorf("%s:%d: no response has the code %s", p.file, b.line, code[1])
			}
		}
		want, got := numbers(wantStatus, b.text), numbers(gotStatus, part)
		same := func(want, got int) bool { // 202: a busy machine has not sent a revocation within 250 ms
			return want == got || want == http.StatusOK && got == http.StatusAccepted
		}
		if len(want) > 0 && !slices.EqualFunc(want, got, same) {
			t.Errorf("%s:%d: its curls got %v, its comments say %v", p.file, b.line, got, want)
		}
		for _, status := range got {
			if len(want) == 0 && (status < 200 || status >= 400) {
				t.Errorf("%s:%d: a curl got %d", p.file, b.line, status)
			}
		}
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("printed:\n%s\n%s", out, log)
	}
}

func numbers(pattern *regexp.Regexp, text string) []int {
	var all []int
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		all = append(all, n)
	}
	return all
}

// TestDocsSeveralBrokers runs the commands that set up several brokers, back them up and restore them, with etcd and nats-server built from the modules
// of the tests.
func TestDocsSeveralBrokers(t *testing.T) {
	longtest.SkipShort(t, "builds etcd and runs each command of the document")
	for _, tool := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	p := newPaste(t, "operate.md")
	for _, b := range slices.Concat(fences(t, p.file), fences(t, "backup.md")) {
		if b.above == "Needs etcd and nats-server:" || b.above == "Needs the brokers of operate.md:" {
			p.blocks = append(p.blocks, b)
		}
	}
	if len(p.blocks) != 4 {
		t.Fatalf("%d blocks, want 4", len(p.blocks))
	}
	for name, pkg := range map[string]string{"etcd": "go.etcd.io/etcd/server/v3", "nats-server": "github.com/nats-io/nats-server/v2"} {
		if err := os.Symlink(buildProgram(t, name, pkg), filepath.Join(p.dir, ".bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{"127.0.0.1:237", "127.0.0.1:238", "127.0.0.1:818"} { // the document adds 1, 2 and 3
		p.addresses = append(p.addresses, prefix, "127.0.0.1:"+freeTens(t))
	}
	port := freeport.Take(t, 1)[0]
	p.addresses = append(p.addresses, "127.0.0.1:4222", "127.0.0.1:"+port, "--port 4222", "--port "+port)
	p.run(t)
}

// TestDocsBrokersOnPostgres runs the commands that set up several brokers on PostgreSQL, and the queries to monitor it.
func TestDocsBrokersOnPostgres(t *testing.T) {
	longtest.SkipShort(t, "starts PostgreSQL and runs each command of the document")
	for _, tool := range []string{"bash", "curl", "openssl", "psql"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	t.Parallel()
	c := pgtest.Start(t)
	p := newPaste(t, "operate.md")
	for _, b := range fences(t, p.file) {
		if b.above == "Needs PostgreSQL with a synchronous standby, psql, and nats-server:" {
			p.blocks = append(p.blocks, b)
		}
	}
	if len(p.blocks) != 1 {
		t.Fatalf("%d blocks, want 1", len(p.blocks))
	}
	if err := os.Symlink(buildProgram(t, "nats-server", "github.com/nats-io/nats-server/v2"), filepath.Join(p.dir, ".bin", "nats-server")); err != nil {
		t.Fatal(err)
	}
	server, port := c.Primary().Addr(), freeport.Take(t, 1)[0]
	p.addresses = []string{ // the superuser of these servers is tokenbroker, so that the brokers have another role
		"postgres@127.0.0.1:5432", pgtest.User + "@" + server, "tokenbroker@127.0.0.1:5432", brokerRole + "@" + server, "127.0.0.1:5432", server,
		"ROLE tokenbroker LOGIN", "ROLE " + brokerRole + " LOGIN", "TO tokenbroker;", "TO " + brokerRole + ";", "--role tokenbroker", "--role " + brokerRole,
		"127.0.0.1:818", "127.0.0.1:" + freeTens(t), "127.0.0.1:4222", "127.0.0.1:" + port, "--port 4222", "--port " + port,
	}
	p.run(t)
	c.Primary().SQL(t, "tokenbroker", docsFence(t, p.file, "sql (monitoring)"))
}

// freeTens returns the beginning of three free ports, which continue with 1, 2 and 3.
func freeTens(t *testing.T) string {
	t.Helper()
	for {
		tens := freeport.Take(t, 1)[0]
		tens = tens[:len(tens)-1]
		free := true
		for _, last := range []string{"1", "2", "3"} {
			l, err := net.Listen("tcp", "127.0.0.1:"+tens+last)
			if err != nil {
				free = false
				continue
			}
			_ = l.Close()
		}
		if free {
			return tens
		}
	}
}
