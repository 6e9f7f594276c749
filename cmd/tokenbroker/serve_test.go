package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/freeport"
)

// served is `tokenbroker serve` in this process.
type served struct {
	config, dir, issuer string
	port, natsPort      string
	args                []string
	logs                *syncBuffer
	stop                context.CancelFunc
	code                chan int
}

// newServed has a configuration that `config init` wrote, changed as edit says.
func newServed(t *testing.T, scheme string, edit ...string) *served {
	t.Helper()
	ports := freeport.Take(t, 2)
	s := &served{dir: t.TempDir(), port: ports[0], natsPort: ports[1], issuer: scheme + "://127.0.0.1:" + ports[0]}
	s.config = filepath.Join(s.dir, "tokenbroker.yaml")
	var errs bytes.Buffer
	if code := Main(t.Context(), []string{"config", "init", s.config, "--public-url", s.issuer, "--data-dir", filepath.Join(s.dir, "data")}, io.Discard, &errs); code != terminal.ExitOK {
		t.Fatal(errs.String())
	}
	s.append(t, edit...)
	s.args = []string{"serve", "--config", s.config, "--listen", "127.0.0.1:" + s.port, "--set", "admin.listen=", "--set", "nats.listen=127.0.0.1:" + s.natsPort}
	return s
}

// append adds lines to the configuration file.
func (s *served) append(t *testing.T, lines ...string) {
	t.Helper()
	text := readFile(t, s.config) + "\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start returns once the broker is ready.
func (s *served) start(t *testing.T) *served {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s.logs, s.stop, s.code = &syncBuffer{}, stop, make(chan int, 1)
	go func() { s.code <- Main(ctx, s.args, io.Discard, s.logs) }()
	t.Cleanup(stop)
	eventually(t, "serve is ready", func() bool {
		select {
		case code := <-s.code:
			t.Fatalf("serve ended with %d before it was ready:\n%s", code, s.logs.String())
		default:
		}
		return strings.Contains(s.logs.String(), "tokenbroker is ready")
	})
	return s
}

// log.level does not affect audit lines, including those of operators' commands; only log.audit does.
func TestAuditLinesAreIndependentOfTheLogLevel(t *testing.T) {
	for setting, want := range map[string][]string{
		"log.audit=true":  {"event=user_add", "event=key_rotate", "event=sign_in_failed", "event=key_scheduled"},
		"log.audit=false": nil,
	} {
		t.Run(setting, func(t *testing.T) {
			s := newServed(t, "http")
			s.args = append(s.args, "--log-level", "error", "--set", setting)
			ctx, stop := context.WithCancel(t.Context())
			s.logs, s.stop, s.code = &syncBuffer{}, stop, make(chan int, 1)
			go func() { s.code <- Main(ctx, s.args, io.Discard, s.logs) }()
			t.Cleanup(stop)
			eventually(t, "serve is ready", func() bool {
				return run(t.Context(), []string{"healthcheck", "--config", s.config}, strings.NewReader(""), io.Discard, io.Discard) == terminal.ExitOK
			})
			s.operate(t, terminal.ExitOK, "users", "add", "ada")
			s.operate(t, terminal.ExitOK, "keys", "rotate", "--yes")
			resp, err := http.Post("http://127.0.0.1:"+s.port+"/auth/sign-in/", "application/json", strings.NewReader(`{"username":"ada","password":"wrong"}`))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			s.finish(t)
			for _, text := range want {
				if !strings.Contains(s.logs.String(), text) {
					t.Errorf("no %s in the log", text)
				}
			}
			if lines := strings.Count(s.logs.String(), "msg="); lines != strings.Count(s.logs.String(), "msg=audit") || want == nil && lines > 0 {
				t.Errorf("logged:\n%s", s.logs.String())
			}
		})
	}
}

// Other users cannot read the files that serve writes, with any umask of its caller.
func TestServeWritesFilesOnlyForItsOwnUser(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s := newServed(t, "http").start(t)
	files := 0
	err := filepath.WalkDir(filepath.Join(s.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 8 {
		t.Errorf("%d files, %v", files, err)
	}
	s.finish(t)
}

func (s *served) finish(t *testing.T) {
	t.Helper()
	s.stop()
	select {
	case code := <-s.code:
		if code != terminal.ExitOK {
			t.Errorf("exit code %d:\n%s", code, s.logs.String())
		}
	case <-time.After(patience):
		t.Fatal("serve did not stop")
	}
}

// operate runs an operator's command and returns what it prints.
func (s *served) operate(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), append(args, "--config", s.config), strings.NewReader("correct horse\n"), &out, &errs); code != want {
		t.Fatalf("%v: exit code %d, want %d: %s%s", args, code, want, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

func TestTwoBrokersDoNotShareADirectory(t *testing.T) {
	t.Parallel()
	s := newServed(t, "http").start(t)
	ports := freeport.Take(t, 2)
	other := append(append([]string{}, s.args...), "--listen", "127.0.0.1:"+ports[0], "--set", "nats.listen=127.0.0.1:"+ports[1],
		"--set", "admin.socket="+filepath.Join(s.dir, "other", "admin.sock"))
	var errs bytes.Buffer
	if code := Main(t.Context(), other, io.Discard, &errs); code != terminal.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(errs.String(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Errorf("says %q", errs.String())
	}
	s.operate(t, terminal.ExitOK, "users", "add", "ada") // the first one goes on
	s.finish(t)
}

// A stop while serve starts is not a failure.
func TestServeStopsWhileItStarts(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s := newServed(t, "http")
	for _, args := range [][]string{s.args, {"dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}} {
		if args[0] == "dev" && !developmentServer {
			continue
		}
		var errs syncBuffer
		if code := Main(ctx, args, io.Discard, &errs); code != terminal.ExitOK {
			t.Errorf("%s: exit code %d: %s", args[0], code, errs.String())
		}
	}
}

func TestServeNamesWhatIsDegradedWhenItIsReady(t *testing.T) {
	t.Parallel()
	away := freeport.Take(t, 2)
	s := newServed(t, "http", "providers:\n  corp: {kind: oidc, issuer: \"http://127.0.0.1:"+away[0]+"\", client_id: c}")
	s.args = append(s.args[:len(s.args)-2], "--set", "nats.url=nats://127.0.0.1:"+away[1])
	s.start(t)
	for _, want := range []string{"tokenbroker is ready, but degraded", "nats: revocations are recorded", "provider corp: does not answer"} {
		if !strings.Contains(s.logs.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, s.logs.String())
		}
	}
	s.finish(t)
	whole := newServed(t, "http").start(t)
	if strings.Contains(whole.logs.String(), "degraded") {
		t.Errorf("nothing is degraded:\n%s", whole.logs.String())
	}
	whole.finish(t)
}

func TestReloadOnSIGHUP(t *testing.T) {
	s := newServed(t, "http", `origins: ["http://127.0.0.1:5173"]`).start(t)
	hangUp := func(want string) {
		t.Helper()
		s.logs.Reset()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, want, func() bool { return strings.Contains(s.logs.String(), want) })
	}
	allowed := func(origin string) bool { return allowedOrigin(t, s.issuer+"/auth/refresh/", origin) == origin }
	if !allowed("http://127.0.0.1:5173") || allowed("http://127.0.0.1:5174") || allowed("http://localhost:5173") {
		t.Fatal("the configured origins, and no others, are not in force")
	}
	text := readFile(t, s.config)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(text, "5173", "nonsense", 1))
	hangUp("reload refused")
	if !allowed("http://127.0.0.1:5173") {
		t.Error("an invalid file changed the origins")
	}
	s.operate(t, terminal.ExitOK, "status") // finds the server by the invalid file
	write(strings.Replace(text, "5173", "5174", 1) + "log: {level: debug}\nlifetimes: {access_token: 2m}\n")
	hangUp("need a restart")
	if !strings.Contains(s.logs.String(), "lifetimes.access_token") || !strings.Contains(s.logs.String(), "configuration reloaded") {
		t.Errorf("log: %s", s.logs.String())
	}
	if allowed("http://127.0.0.1:5173") || !allowed("http://127.0.0.1:5174") {
		t.Error("the new origins are not in force")
	}
	s.logs.Reset()
	if resp, err := http.Get(s.issuer + "/livez"); err == nil {
		_ = resp.Body.Close()
	}
	eventually(t, "a debug line", func() bool { return strings.Contains(s.logs.String(), "level=DEBUG") })
	cert, key := filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key")
	writeCertificate(t, cert, key, 1)
	s.append(t, "nats: {tls_cert_file: "+cert+", tls_key_file: "+key+"}")
	for range 2 { // the first certificate needs a restart, however often it is reloaded
		hangUp("need a restart")
		if !strings.Contains(s.logs.String(), "lifetimes.access_token nats.tls_cert_file nats.tls_key_file") {
			t.Errorf("log: %s", s.logs.String())
		}
	}
	s.finish(t)
}
