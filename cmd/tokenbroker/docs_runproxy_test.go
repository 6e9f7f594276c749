package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// runProxy runs nginx, Caddy or HAProxy with the configuration of a document until the test ends, and waits
// until the proxy listens at address.
func runProxy(t *testing.T, name, address, config string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	var args []string
	switch name {
	case "nginx":
		config = fmt.Sprintf("daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n%s\n%s}\n",
			"client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;", config)
		args = []string{"nginx", "-p", dir, "-e", "stderr", "-c", file}
	case "caddyfile":
		config = "{\n\tadmin off\n\tauto_https off\n}\n" + config
		args = []string{"caddy", "run", "--config", file, "--adapter", "caddyfile"}
	case "haproxy":
		args = []string{"haproxy", "-db", "-f", file}
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath(args[0])
	if err != nil { // an ordinary user's PATH may lack it
		path, err = exec.LookPath("/usr/sbin/" + args[0])
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("%s is not installed", args[0])
	}
	logs := &syncBuffer{}
	cmd := exec.CommandContext(context.Background(), path, args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, logs, logs, append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Log(logs.String())
		}
	})
	eventually(t, args[0]+" listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s has ended", args[0])
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// docsFence returns the one block of that kind in a document.
func docsFence(t *testing.T, file, info string) string {
	t.Helper()
	for _, f := range fences(t, file) {
		if f.info == info {
			return f.text
		}
	}
	t.Fatalf("%s has no block of %s", file, info)
	return ""
}
