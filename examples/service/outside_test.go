package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ value, file, want, fails string }{
		"neither":      {},
		"the variable": {value: "s3cret", want: "s3cret"},
		"the file":     {file: file("good", "s3cret\n"), want: "s3cret"},
		"both":         {value: "s3cret", file: file("other", "s3cret"), fails: "both set"},
		"no file":      {file: filepath.Join(dir, "absent"), fails: "no such file"},
		"an empty one": {file: file("empty", "\n"), fails: "is empty"},
		"two lines":    {file: file("lines", "s3cret\n\n"), fails: "one line"},
		"a BOM":        {file: file("bom", "\ufeffs3cret\n"), fails: "one line"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("X_SECRET", c.value)
			t.Setenv("X_SECRET_FILE", c.file)
			got, err := secret("X_SECRET")
			if got != c.want || (err == nil) != (c.fails == "") {
				t.Fatalf("%q, %v", got, err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("the error says %q", err)
			}
		})
	}
}

func TestBrokerClientConnectsToTheOtherAddress(t *testing.T) {
	var host string
	broker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host = r.Host }))
	defer broker.Close()
	client := brokerClient(broker.Listener.Addr().String())
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://id.example.com/x")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if host != "id.example.com" {
		t.Errorf("the broker was asked as %q", host)
	}
	if brokerClient("") != nil {
		t.Error("without an address it is the validator's own")
	}
}
