package etcdstore_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/etcdstore/member"
)

// TestMain stops the members that the tests share before it looks for goroutines.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(tests{m},
		// Connections between the members end some time after a member was stopped. Only etcd uses net/http here.
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

type tests struct{ *testing.M }

func (t tests) Run() int {
	code := t.M.Run()
	if shared.cluster != nil {
		shared.stop()
		_ = os.RemoveAll(shared.dir)
	}
	return code
}

// shared is the cluster of the tests that do not stop its members. Each test has its own prefix.
var shared struct {
	once sync.Once
	*cluster
	err    error
	stores atomic.Int64
}

// config returns a configuration for an empty store in the shared cluster. A commit without a fence is not sent
// again, so that a try may last long.
func config(tb testing.TB) etcdstore.Config {
	tb.Helper()
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "etcdstore") //nolint:usetesting // the members outlive the test that starts them
		if err != nil {
			shared.err = err
			return
		}
		shared.cluster = newCluster(dir, 3, 0)
		shared.err = shared.start()
	})
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	return etcdstore.WithPatience(etcdstore.Config{
		Endpoints: shared.urls, Prefix: fmt.Sprintf("test-%d/", shared.stores.Add(1)), TryFor: 10 * time.Second,
	}, 300*time.Millisecond)
}

// cluster is members in this process.
type cluster struct {
	dir     string
	urls    []string
	configs []member.Config
	running []*member.Member
}

func newCluster(dir string, n int, quota int64) *cluster {
	urls := freeURLs(2 * n)
	c := &cluster{dir: dir, urls: urls[:n], running: make([]*member.Member, n)}
	peers := make(map[string]string)
	for i := range n {
		peers[fmt.Sprint("m", i)] = urls[n+i]
	}
	for i := range n {
		name := fmt.Sprint("m", i)
		c.configs = append(c.configs, member.Config{
			Name: name, Dir: filepath.Join(dir, name), ClientURL: urls[i], PeerURL: peers[name], Peers: peers, Quota: quota,
		})
	}
	return c
}

// startCluster starts members for one test.
func startCluster(t *testing.T, n int, quota int64) *cluster {
	t.Helper()
	c := newCluster(t.TempDir(), n, quota)
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

// start starts the members that do not run.
func (c *cluster) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var starts sync.WaitGroup
	errs := make([]error, len(c.configs))
	for i := range c.configs {
		if c.running[i] == nil {
			starts.Go(func() { c.running[i], errs[i] = member.Start(ctx, c.configs[i]) })
		}
	}
	starts.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) stop() {
	var stops sync.WaitGroup
	for i := range c.running {
		stops.Go(func() { c.kill(i) })
	}
	stops.Wait()
}

func (c *cluster) kill(i int) {
	if c.running[i] != nil {
		c.running[i].Kill()
		c.running[i] = nil
	}
}

func freeURLs(n int) (urls []string) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		defer func() { _ = l.Close() }()
		urls = append(urls, "http://"+l.Addr().String())
	}
	return urls
}

func open(tb testing.TB, config etcdstore.Config) *etcdstore.Store {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	s, err := etcdstore.Open(ctx, config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func put(key, value string, expect store.Revision) store.Change {
	return store.Change{Writes: []store.Write{{Key: key, Value: []byte(value), Expect: expect}}}
}

func blind(key, value string) store.Change {
	return store.Change{Writes: []store.Write{{Key: key, Value: []byte(value), Blind: true}}}
}

func withEvent(c store.Change) store.Change {
	c.Events = []revocation.Event{{Kind: revocation.KindSID, Value: "s", At: 1, ExpiresAt: 2}}
	return c
}

// fenced is a broker's run.
type fenced struct {
	*etcdstore.Store
	revision store.Revision
}

const fenceKey = "origin.test"

// commit commits under the fence and returns the result of each change.
func (f *fenced) commit(ctx context.Context, seal store.Seal, changes ...store.Change) []error {
	revision, errs := f.CommitFenced(ctx, store.Fence{Key: fenceKey, Expect: f.revision, Value: []byte("plain"), Sealed: []byte("sealed")}, changes, seal)
	if revision != 0 {
		f.revision = revision
	}
	return errs
}

func sealTo(key, value string) store.Seal {
	return func([]revocation.Event) ([]store.Write, error) {
		return []store.Write{{Key: key, Value: []byte(value)}}, nil
	}
}

func value(tb testing.TB, r store.Reader, key string) string {
	tb.Helper()
	record, err := r.Get(tb.Context(), key)
	if err != nil {
		tb.Fatalf("reading %s: %v", key, err)
	}
	return string(record.Value)
}

func wantText(tb testing.TB, err error, texts ...string) {
	tb.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			tb.Errorf("got %v, want an error with %q", err, text)
		}
	}
}
