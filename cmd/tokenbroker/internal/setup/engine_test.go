package setup_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/config"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/pgstore"
)

const onEtcd = `public_url: http://127.0.0.1:8080
data_dir: /var/lib/tokenbroker
tokens: {audience: [api]}
browser: {client: spa}
clients: {spa: {public: true}}
nats: {url: 'nats://127.0.0.1:4222'}
keyring: {kek: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
store: {engine: etcd, etcd: {endpoints: ['http://127.0.0.1:1'], prefix: test/}}
`

// TestEngineErrorsNameTheEndpoints checks that a start that reaches no member of the cluster names the endpoints, and
// what to check.
func TestEngineErrorsNameTheEndpoints(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokenbroker.yaml")
	if err := os.WriteFile(file, []byte(onEtcd), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	built, problems := setup.Build(t.Context(), loaded.Config)
	if len(problems) > 0 || built.Node.Name != host || built.Etcd == nil || built.Etcd.Prefix != "test/" || built.Etcd.TLS != nil {
		t.Fatalf("built %+v, problems %v", built, problems)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	engine, err := built.OpenEngine(ctx, slog.New(slog.DiscardHandler))
	if err == nil {
		_ = engine.Close()
		t.Fatal("connected to a port at which nothing listens")
	}
	for _, want := range []string{"store.etcd.endpoints http://127.0.0.1:1", "a majority of the members", `"test/"`, "tokenbroker doctor"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// TestDefaultsAreThoseOfTheStores checks that unset keys have the defaults of the packages that they configure.
func TestDefaultsAreThoseOfTheStores(t *testing.T) {
	loaded, err := config.Load(config.Options{}) // its problems do not matter here
	if err == nil {
		t.Fatal("an empty configuration was accepted")
	}
	s := loaded.Config.Store
	if s.Etcd.Prefix != etcdstore.DefaultPrefix || s.Postgres.Schema != pgstore.DefaultSchema || s.Postgres.MaxConnections != pgstore.DefaultMaxConnections {
		t.Errorf("%+v", s)
	}
}

// TestOtherEnginesAreNotOpened checks that a configuration without etcd needs no connection.
func TestOtherEnginesAreNotOpened(t *testing.T) {
	engine, err := (&setup.Built{}).OpenEngine(t.Context(), slog.New(slog.DiscardHandler))
	if engine != nil || err != nil {
		t.Errorf("OpenEngine = %v, %v", engine, err)
	}
}
