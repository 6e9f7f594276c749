package adminclient_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
)

const secretToken = "the-admin-token-of-the-test"

// withoutServers clears every variable that names a server on this machine.
func withoutServers(t *testing.T) {
	t.Helper()
	for _, name := range []string{adminclient.EnvAdmin, adminclient.EnvToken, adminclient.EnvTokenFile, adminclient.EnvDataDir, adminclient.EnvConfig} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
}

// named answers /admin/v1/status with its name as the version, and with a token only to it.
func named(name, token string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"code":"unauthorized","detail":"want the admin token"}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"version": name})
	})
}

// onSocket serves at the socket of a new data directory.
func onSocket(t *testing.T, h http.Handler) (dataDir string) {
	t.Helper()
	dataDir, err := os.MkdirTemp("", "tb") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dataDir) })
	path := adminsocket.Path(dataDir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: h}}
	server.Start()
	t.Cleanup(server.Close)
	return dataDir
}

func onTCP(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// askName returns the name of the server that answers.
func askName(t *testing.T, opts adminclient.Options) (string, error) {
	t.Helper()
	client, err := adminclient.Locate(opts)
	if err != nil {
		return "", err
	}
	defer client.Close()
	status, err := client.Status(t.Context())
	return status.Version, err
}

func TestServersAreFoundInTheDocumentedOrder(t *testing.T) {
	withoutServers(t)
	byURL := onTCP(t, named("url", secretToken))
	tokenFile := write(t, secretToken+"\n")
	byDir, byConfig := onSocket(t, named("dir", "")), onSocket(t, named("config", ""))
	byEnvDir, byPointer := onSocket(t, named("env-dir", "")), onSocket(t, named("pointer", ""))
	socketOf := func(file string) (string, error) {
		if file != "tb.yaml" {
			return "", errors.New("no such configuration")
		}
		return adminsocket.Path(byConfig), nil
	}
	remove, err := adminclient.WritePointer(adminclient.Pointer{PID: os.Getpid(), Socket: adminsocket.Path(byPointer)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		opts adminclient.Options
		env  [][2]string
		want string
	}{
		{"the pointer", adminclient.Options{}, nil, "pointer"},
		{"the environment's directory beats the pointer", adminclient.Options{}, [][2]string{{adminclient.EnvDataDir, byEnvDir}}, "env-dir"},
		{"the environment's configuration beats its directory", adminclient.Options{SocketOf: socketOf}, [][2]string{{adminclient.EnvConfig, "tb.yaml"}}, "config"},
		{"the environment's address beats those", adminclient.Options{SocketOf: socketOf}, [][2]string{{adminclient.EnvAdmin, byURL}, {adminclient.EnvToken, secretToken}}, "url"},
		{"--config beats the environment", adminclient.Options{SocketOf: socketOf, ConfigFile: "tb.yaml"}, nil, "config"},
		{"--data-dir beats the environment", adminclient.Options{DataDir: byDir}, nil, "dir"},
		{"--admin with a socket", adminclient.Options{Admin: "unix://" + adminsocket.Path(byDir)}, nil, "dir"},
		{"--admin with the environment's token", adminclient.Options{Admin: byURL}, nil, "url"},
		{"--admin-token-file beats the environment's token", adminclient.Options{Admin: byURL + "/", TokenFile: tokenFile}, [][2]string{{adminclient.EnvToken, "wrong"}}, "url"},
		{"the environment's token file", adminclient.Options{Admin: byURL}, [][2]string{{adminclient.EnvToken, ""}, {adminclient.EnvTokenFile, tokenFile}}, "url"},
	} {
		for _, e := range c.env {
			t.Setenv(e[0], e[1]) // stays for the rows below
		}
		got, err := askName(t, c.opts)
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
}

func TestContradictoryOptionsAreRefused(t *testing.T) {
	withoutServers(t)
	const password = "hunter2"
	for _, c := range []struct {
		name string
		opts adminclient.Options
		want string
	}{
		{"two at once", adminclient.Options{Admin: "http://127.0.0.1:1", DataDir: "/x"}, "set only one of"},
		{"plain http to another machine", adminclient.Options{Admin: "http://broker.example:8081"}, "only to loopback"},
		{"plain http to a name that begins as loopback", adminclient.Options{Admin: "http://127.0.0.1.example.com"}, "only to loopback"},
		{"plain http to every address", adminclient.Options{Admin: "http://0.0.0.0:8081"}, "only to loopback"},
		{"a user in the URL", adminclient.Options{Admin: "https://admin:" + password + "@broker.example"}, "takes no user"},
		{"what is no URL", adminclient.Options{Admin: "https://admin:" + password + "@broker.example:port"}, "not a URL"},
		{"a path", adminclient.Options{Admin: "https://broker.example/admin/v1"}, "no path"},
		{"another scheme", adminclient.Options{Admin: "ftp://broker.example"}, "want http"},
		{"no scheme", adminclient.Options{Admin: "127.0.0.1:8081"}, "--admin"},
		{"a relative socket", adminclient.Options{Admin: "unix://admin.sock"}, "unix:///path"},
		{"--config where nothing reads it", adminclient.Options{ConfigFile: "tb.yaml"}, "--data-dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := adminclient.Locate(c.opts)
			if !errors.Is(err, adminclient.ErrOptions) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want ErrOptions with %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	for _, address := range []string{"http://127.0.0.1:8081", "http://127.9.9.9:1", "http://[::1]:8081", "http://localhost:8081", "https://broker.example"} {
		if _, err := adminclient.Locate(adminclient.Options{Admin: address}); err != nil {
			t.Errorf("%s is refused: %v", address, err)
		}
	}
}

func TestInvalidTokensAreRefusedWithoutShowingThem(t *testing.T) {
	withoutServers(t)
	for name, text := range map[string]string{"empty": " \n", "two words": secretToken + " more", "not ASCII": secretToken + "é", "too long": strings.Repeat(secretToken, 5000)} {
		t.Run(name, func(t *testing.T) {
			_, err := adminclient.Locate(adminclient.Options{Admin: "http://127.0.0.1:1", TokenFile: write(t, text)})
			if err == nil || strings.Contains(err.Error(), secretToken) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := adminclient.Locate(adminclient.Options{Admin: "http://127.0.0.1:1", TokenFile: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing token file: %v", err)
	}
	t.Setenv(adminclient.EnvToken, secretToken)
	t.Setenv(adminclient.EnvTokenFile, "/x")
	if _, err := adminclient.Locate(adminclient.Options{Admin: "http://127.0.0.1:1"}); err == nil || strings.Contains(err.Error(), secretToken) {
		t.Errorf("two tokens: %v", err)
	}
}

func TestNoServer(t *testing.T) {
	withoutServers(t)
	wantNoServer := func(t *testing.T, err error, parts ...string) {
		t.Helper()
		if !errors.Is(err, adminclient.ErrNoServer) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v; want ErrNoServer in one line", err)
			return
		}
		for _, part := range append(parts, "tokenbroker dev", "tokenbroker serve", "--data-dir", "--admin") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is missing in: %v", part, err)
			}
		}
	}
	t.Run("nothing names one", func(t *testing.T) {
		_, err := adminclient.Locate(adminclient.Options{})
		wantNoServer(t, err, "dev.json")
	})
	t.Run("no socket", func(t *testing.T) {
		dir := t.TempDir()
		_, err := askName(t, adminclient.Options{DataDir: dir})
		wantNoServer(t, err, adminsocket.Path(dir), "no such file")
	})
	t.Run("nothing listens", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := "http://" + listener.Addr().String()
		_ = listener.Close()
		_, err = askName(t, adminclient.Options{Admin: address})
		wantNoServer(t, err, address, "refused")
	})
	t.Run("a stale pointer", func(t *testing.T) {
		socket := adminsocket.Path(t.TempDir())
		if _, err := adminclient.WritePointer(adminclient.Pointer{PID: 4711, Socket: socket}); err != nil {
			t.Fatal(err)
		}
		_, err := askName(t, adminclient.Options{})
		wantNoServer(t, err, "4711", "dev.json", socket)
	})
}
