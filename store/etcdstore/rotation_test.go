package etcdstore_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
)

// asked records which endpoints the requests of a store go to, and decides what happens to each.
type asked struct {
	mu     sync.Mutex
	urls   []string
	list   []int                                                       // guarded by mu
	faults func(n, endpoint int, send func() error, sent func()) error // guarded by mu
}

// follow installs faults, which is called for each request to a key from now on: with its number, the endpoint, and functions that
// send it and that make it look sent.
func (a *asked) follow(faults func(n, endpoint int, send func() error, sent func()) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list, a.faults = nil, faults
}

func (a *asked) endpoints() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

func (a *asked) intercept(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	send := func() error { return invoke(ctx, method, request, reply, cc, opts...) }
	if !strings.HasPrefix(method, "/etcdserverpb.KV/") {
		return send()
	}
	endpoint := slices.IndexFunc(a.urls, func(u string) bool { return strings.HasSuffix(u, cc.Target()[strings.LastIndex(cc.Target(), "/"):]) })
	a.mu.Lock()
	a.list = append(a.list, endpoint)
	n, faults := len(a.list), a.faults
	a.mu.Unlock()
	if faults == nil {
		return send()
	}
	sent := func() { lookSent(opts) }
	if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get(rpctypes.MetadataRequireLeaderKey)) == 0 {
		return errors.New("the request does not require a leader")
	}
	return faults(n, endpoint, send, sent)
}

// observed returns the store of a configuration, and what it asks.
func observed(t *testing.T, config etcdstore.Config) (*etcdstore.Store, *asked) {
	t.Helper()
	a := &asked{urls: config.Endpoints}
	s := open(t, etcdstore.WithDialOption(config, grpc.WithChainUnaryInterceptor(a.intercept)))
	if first := a.endpoints(); first[0] != 0 || len(first) != 1 {
		t.Fatalf("Open asked %v", first)
	}
	return s, a
}

var errUnreachable = status.Error(codes.Unavailable, "connection refused")

func TestRotation(t *testing.T) {
	refused := func(int, func() error, func()) error { return errUnreachable }
	noLeader := func(int, func() error, func()) error { return rpctypes.ErrGRPCNoLeader }
	lost := func(_ int, send func() error, _ func()) error { _ = send(); return errUnreachable }
	held := func(_ int, _ func() error, sent func()) error { sent(); return errUnreachable }
	ok := func(_ int, send func() error, _ func()) error { return send() }
	type fault = func(int, func() error, func()) error
	for _, tt := range []struct {
		name          string
		faults        []fault // of the first endpoints; the others answer
		read          []int   // the endpoints that a read asks
		fenced, plain error   // the results of commits with and without a fence
		fencedAsks    []int
		plainAsks     []int
	}{
		{name: "all answer", faults: []fault{ok}, read: []int{0}, fencedAsks: []int{0}, plainAsks: []int{0}},
		{name: "a connection is refused", faults: []fault{refused}, read: []int{0, 1}, fencedAsks: []int{0, 1}, plainAsks: []int{0, 1}},
		{name: "two connections are refused", faults: []fault{refused, refused}, read: []int{0, 1, 2}, fencedAsks: []int{0, 1, 2}, plainAsks: []int{0, 1, 2}},
		{name: "an endpoint has no leader", faults: []fault{noLeader}, read: []int{0, 1}, fencedAsks: []int{0, 1}, plainAsks: []int{0, 1}},
		{name: "a request is lost", faults: []fault{held}, read: []int{0, 1}, fencedAsks: []int{0, 1}, plain: store.ErrUncertain, plainAsks: []int{0}},
		{name: "an answer is lost", faults: []fault{lost}, read: []int{0, 1}, fenced: store.ErrUncertain, fencedAsks: []int{0, 1}, plain: store.ErrUncertain, plainAsks: []int{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := config(t)
			check := func(what string, want error, endpoints []int, do func(s *etcdstore.Store) error) {
				s, a := observed(t, config)
				a.follow(func(_, endpoint int, send func() error, sent func()) error {
					if endpoint < len(tt.faults) {
						return tt.faults[endpoint](endpoint, send, sent)
					}
					return send()
				})
				if err := do(s); !errors.Is(err, want) || want == nil && err != nil {
					t.Errorf("%s: %v, want %v", what, err, want)
				}
				var asks []int // the library repeats a read once at the same endpoint
				if asks = a.endpoints(); what == "a read" {
					asks = slices.Compact(asks)
				}
				if diff := cmp.Diff(endpoints, asks); diff != "" {
					t.Errorf("%s asked (-want +got):\n%s", what, diff)
				}
				if want != nil {
					return
				}
				a.follow(nil) // and the next one begins where the last one succeeded
				if _, err := s.GetMany(t.Context(), []string{"x"}); err != nil || a.endpoints()[0] != asks[len(asks)-1] {
					t.Errorf("%s: the next read asked %v, %v", what, a.endpoints(), err)
				}
			}
			check("a read", nil, tt.read, func(s *etcdstore.Store) error {
				_, err := s.List(t.Context(), "", "", 10)
				return err
			})
			check("a commit without a fence", tt.plain, tt.plainAsks, func(s *etcdstore.Store) error {
				_, errs := s.CommitFenced(t.Context(), store.Fence{}, []store.Change{blind("plain", "v")}, nil)
				return errs[0]
			})
			check("a commit", tt.fenced, tt.fencedAsks, func(s *etcdstore.Store) error {
				return (&fenced{Store: s}).commit(t.Context(), nil, blind("fenced", "v"))[0]
			})
		})
	}
}

func TestNoEndpointAnswers(t *testing.T) {
	s, a := observed(t, config(t))
	a.follow(func(int, int, func() error, func()) error { return errUnreachable })
	f := fenced{Store: s}
	for _, errs := range [][]error{f.commit(t.Context(), nil, blind("k", "v"), blind("k", "w")), f.commit(t.Context(), nil, blind("k", "v"))} {
		if !errors.Is(errs[0], store.ErrUnavailable) || errors.Is(errs[0], store.ErrUncertain) || len(errs) > 1 && !errors.Is(errs[1], store.ErrRetry) {
			t.Errorf("a commit that was not sent: %v", errs)
		}
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a read: %v", err)
	}
	for at := range 3 {
		if !slices.Contains(a.endpoints(), at) {
			t.Errorf("endpoint %d was not asked: %v", at, a.endpoints())
		}
	}
	a.follow(func(_, _ int, _ func() error, sent func()) error { sent(); return errUnreachable })
	errs := f.commit(t.Context(), nil, blind("k", "v"), blind("k", "w"))
	if !errors.Is(errs[0], store.ErrUncertain) || !errors.Is(errs[1], store.ErrRetry) {
		t.Errorf("a commit that was sent: %v", errs)
	}
}

func TestContextEnds(t *testing.T) {
	s, a := observed(t, config(t))
	f := fenced{Store: s}
	ctx, cancel := context.WithCancel(t.Context())
	a.follow(func(int, int, func() error, func()) error { cancel(); return errUnreachable })
	if errs := f.commit(ctx, nil, blind("k", "v")); !errors.Is(errs[0], context.Canceled) || errors.Is(errs[0], store.ErrUncertain) {
		t.Errorf("a commit that was not sent: %v", errs)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("a read: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	a.follow(func(_, _ int, _ func() error, sent func()) error {
		// Another commit waits for this one until its context ends.
		other, end := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, end)
		if errs := f.commit(other, nil, blind("k", "v")); !errors.Is(errs[0], context.Canceled) {
			t.Errorf("a commit that waits: %v", errs)
		}
		sent()
		cancel()
		return errUnreachable
	})
	if errs := f.commit(ctx, nil, blind("k", "v")); !errors.Is(errs[0], store.ErrUncertain) || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("a commit that was sent: %v", errs)
	}
	a.follow(func(_, _ int, _ func() error, sent func()) error {
		sent()
		go func() { _ = s.Close() }()
		<-s.Done()
		return errUnreachable
	})
	if errs := f.commit(t.Context(), nil, blind("k", "v")); !errors.Is(errs[0], store.ErrUncertain) {
		t.Errorf("a commit while the store is closed: %v", errs)
	}
	if errs := f.commit(t.Context(), nil, blind("k", "v")); !errors.Is(errs[0], store.ErrClosed) {
		t.Errorf("a commit after Close: %v", errs)
	}
}

// proxy is a listener in front of a member, which can stop forwarding.
type proxy struct {
	net.Listener
	target string
	mu     sync.Mutex
	frozen chan struct{} // closed while it forwards; guarded by mu
	conns  []net.Conn    // guarded by mu
	copies sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, target: target, frozen: make(chan struct{})}
	close(p.frozen)
	p.copies.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			member, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, member)
			p.mu.Unlock()
			p.copies.Go(func() { p.copy(client, member) })
			p.copies.Go(func() { p.copy(member, client) })
		}
	})
	t.Cleanup(p.close)
	return p
}

func (p *proxy) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	for buf := make([]byte, 32<<10); ; {
		n, err := from.Read(buf)
		p.mu.Lock()
		passes := p.frozen
		p.mu.Unlock()
		<-passes
		if n > 0 {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{})
}

func (p *proxy) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.frozen:
	default:
		close(p.frozen)
	}
}

func (p *proxy) close() {
	p.thaw()
	_ = p.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.copies.Wait()
}

// TestFrozenEndpoint: an endpoint that keeps its connections and does not answer is left by reads, commits and watches.
func TestFrozenEndpoint(t *testing.T) {
	direct := config(t)
	config := etcdstore.Config{Prefix: direct.Prefix, TryFor: time.Second}
	var proxies []*proxy
	for _, u := range direct.Endpoints {
		p := newProxy(t, strings.TrimPrefix(u, "http://"))
		proxies = append(proxies, p)
		config.Endpoints = append(config.Endpoints, "http://"+p.Addr().String())
	}
	s, a := observed(t, config)
	f, writer := fenced{Store: s}, open(t, direct)
	write := func() {
		if _, errs := writer.CommitFenced(t.Context(), store.Fence{}, []store.Change{blind("followed", "v")}, nil); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	hints := s.Follow(t.Context(), "followed")
	wantHints := func() {
		for range 5 {
			for hinted := false; !hinted; {
				write()
				select {
				case <-hints:
					hinted = true
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
	}
	wantHints()

	proxies[0].freeze()
	a.follow(nil)
	if errs := f.commit(t.Context(), nil, blind("k", "v")); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if asks := a.endpoints(); len(asks) < 2 || asks[0] != 0 || slices.Contains(asks[1:], 0) {
		t.Errorf("the commit asked %v", asks)
	}
	a.follow(nil)
	for range 5 {
		if errs := f.commit(t.Context(), nil, blind("k", "v")); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	if asks := a.endpoints(); slices.Contains(asks, 0) {
		t.Errorf("later commits asked %v", asks)
	}
	wantHints()
}

// TestQuorum stops and starts the members of a cluster.
func TestQuorum(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 0)
	s := open(t, etcdstore.WithPatience(etcdstore.Config{Endpoints: c.urls}, 10*time.Second))
	f := fenced{Store: s}
	commit := func(value string) {
		t.Helper()
		for {
			err := f.commit(t.Context(), nil, blind("k", value))[0]
			if err == nil {
				return
			}
			if !errors.Is(err, store.ErrUncertain) {
				t.Fatal(err)
			}
			record, err := s.Get(t.Context(), fenceKey) // settle: read the fence
			if err != nil {
				t.Fatal(err)
			}
			f.revision = record.Revision
		}
	}
	commit("1")
	for i, m := range s.Members(t.Context()) {
		if m.Err == nil && m.Leader {
			c.kill(i)
		}
	}
	commit("2") // by a new leader
	for i := range c.running {
		if c.running[i] != nil {
			c.kill(i)
			break
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := s.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read without a majority: %v, %v", got, err)
	}
	if errs := f.commit(ctx, nil, blind("k", "3")); errs[0] == nil {
		t.Error("a commit without a majority")
	}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	commit("4")
	if got := value(t, s, "k"); got != "4" {
		t.Errorf("the record is %q", got)
	}
}
