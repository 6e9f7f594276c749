package config_test

import (
	"os"
	"strings"
	"testing"

	"tokenbroker/config"
)

// TestAPasswordInTheURLIsNotPrinted checks that a URL with a password is refused in all its forms, by a problem that does
// not contain it.
func TestAPasswordInTheURLIsNotPrinted(t *testing.T) {
	const secret = "hunter2"
	for _, url := range []string{
		"postgres://u:hunter2@127.0.0.1/db?sslmode=disable",
		"postgres://u@127.0.0.1/db?sslmode=disable&password=hunter2",
		"postgres://u:hunter2@127.0.0.1:x/db?sslmode=disable",
		"postgres://u:hunter2@[::1/db?sslmode=disable",
		"postgres://u:hunter2%zz@127.0.0.1/db?sslmode=disable",
		"postgres://u:p@a:hunter2/db",
		"postgres:u:hunter2@127.0.0.1/db",
		"postgres://u@127.0.0.1/db?sslmode=%zz&password=hunter2",
		"host=127.0.0.1 password=hunter2",
	} {
		ps := problems(t, config.Options{File: write(t, "c.yaml", base["postgres"]), Environ: []string{"TOKENBROKER_STORE_POSTGRES_URL=" + url}})
		wantProblem(t, ps, "store.postgres.url", "")
		if text := ps.Error(); strings.Contains(text, secret) {
			t.Errorf("%s: the problems have the password:\n%s", url, text)
		}
	}
}

// TestConnectionsThatAreNotVerifiedAreReported checks which modes of TLS, and which durability, are accepted with a warning.
func TestConnectionsThatAreNotVerifiedAreReported(t *testing.T) {
	for url, warns := range map[string]string{
		"postgres://u@127.0.0.1,localhost/db?sslmode=disable":         "",
		"postgres://u@localhost/db?sslmode=require":                   "",
		"postgres://u@db-1/db?sslmode=verify-full":                    "",
		"postgres://u@db-1/db?sslmode=verify-full&sslrootcert=system": "",
		"postgres://u@db-1/db?sslmode=verify-ca":                      "sslmode=verify-ca",
		"postgres://u@db-1/db?sslmode=require":                        "sslmode=require",
		"postgres://u@127.0.0.1,db-1/db?sslmode=disable":              "sslmode=disable",
	} {
		loaded := mustLoad(t, config.Options{File: write(t, "c.yaml", base["postgres"]), Flags: map[string]string{"store.postgres.url": url}})
		switch {
		case warns == "" && len(loaded.Warnings) > 0:
			t.Errorf("%s: warnings %v", url, loaded.Warnings)
		case warns != "":
			wantProblem(t, loaded.Warnings, "store.postgres.url", warns)
		}
	}
	loaded := mustLoad(t, config.Options{File: write(t, "c.yaml", base["postgres"]), Flags: map[string]string{"store.postgres.durability": "local"}})
	wantProblem(t, loaded.Warnings, "store.postgres.durability", "is local")
}

// TestBrokersOnPostgresAreNamedByTheHost checks the name of a broker that has none in the configuration.
func TestBrokersOnPostgresAreNamedByTheHost(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, "c.yaml", strings.Replace(base["postgres"], "broker_name: b1, ", "", 1))
	if name := mustLoad(t, config.Options{File: file}).Config.Store.BrokerName; name != host {
		t.Errorf("the name is %q, want %q", name, host)
	}
}
