package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/etcdstore/member"
	"tokenbroker/store/origins"
	"tokenbroker/store/pgstore"
	"tokenbroker/store/pgstore/pgtest"
)

// memberVariable has the configuration of an etcd member, as which this program then runs, so that the members are processes
// of their own and the processor time of this one is that of the broker.
const memberVariable = "BENCH_ETCD_MEMBER"

func TestMain(m *testing.M) {
	if config := os.Getenv(memberVariable); config != "" {
		if err := runMember(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runMember runs a member until standard input ends, which it does at the latest with the parent.
func runMember(text string) error {
	var config member.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := member.Start(ctx, config)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	m.Kill()
	return err
}

// startMembers starts three etcd members and returns their client URLs.
func startMembers(tb testing.TB) []string {
	tb.Helper()
	const n = 3
	urls, peers, dir := freeURLs(tb, 2*n), make(map[string]string), tb.TempDir()
	for i := range n {
		peers[fmt.Sprint("m", i)] = urls[n+i]
	}
	for i := range n {
		name := fmt.Sprint("m", i)
		config, err := json.Marshal(member.Config{Name: name, Dir: filepath.Join(dir, name), ClientURL: urls[i], PeerURL: urls[n+i], Peers: peers})
		if err != nil {
			tb.Fatal(err)
		}
		startMember(tb, string(config))
	}
	return urls[:n]
}

func freeURLs(tb testing.TB, n int) (urls []string) {
	tb.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		urls = append(urls, "http://"+l.Addr().String())
	}
	return urls
}

func startMember(tb testing.TB, config string) {
	tb.Helper()
	program, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), program)
	cmd.Env, cmd.Stderr = append(os.Environ(), memberVariable+"="+config), os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
}

// join returns a broker's run on an empty store.
func join(tb testing.TB, engine store.Engine) *origins.Run {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	run, err := origins.Join(ctx, origins.Config{Engine: engine, Name: "bench", KEK: "bench", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return run
}

// onEtcd returns a function that opens empty stores on three members.
func onEtcd(tb testing.TB) func(tb testing.TB) store.Engine {
	tb.Helper()
	endpoints := startMembers(tb)
	return func(tb testing.TB) store.Engine {
		tb.Helper()
		ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
		defer cancel()
		engine, err := etcdstore.Open(ctx, etcdstore.Config{
			Endpoints: endpoints, Prefix: fmt.Sprintf("bench-%d/", stores.Add(1)), Logger: slog.New(slog.DiscardHandler),
			TryFor: 10 * time.Second, // a member on a busy machine answers late, but it is not down
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = engine.Close() })
		return engine
	}
}

// onPostgres returns a function that opens empty stores on a PostgreSQL primary with a synchronous standby.
func onPostgres(tb testing.TB) func(tb testing.TB) store.Engine {
	tb.Helper()
	cluster := pgtest.Start(tb)
	return func(tb testing.TB) store.Engine {
		tb.Helper()
		ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
		defer cancel()
		config := pgstore.Config{
			URL: cluster.URL(), Schema: fmt.Sprintf("bench_%d", stores.Add(1)), TryFor: 10 * time.Second, Logger: slog.New(slog.DiscardHandler),
		}
		if err := pgstore.Init(ctx, config, ""); err != nil {
			tb.Fatal(err)
		}
		engine, err := pgstore.Open(ctx, config)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = engine.Close() })
		return engine
	}
}

// stores counts the stores on all servers.
var stores atomic.Int64
