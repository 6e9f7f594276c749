package etcdstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
)

// TestNoSpace fills a cluster until it refuses writes, and makes room.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 4<<20)
	config := etcdstore.Config{Endpoints: c.urls, TryFor: 10e9}
	s := open(t, config)
	f := fenced{Store: s}
	large := strings.Repeat("x", 256<<10)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = f.settled(t, blind("large", large))
	}
	if !errors.Is(err, store.ErrReadOnly) || errors.Is(err, store.ErrUncertain) || !s.Full() {
		t.Fatalf("after %d commits: %v, full: %v", n, err, s.Full())
	}
	if got := value(t, s, "large"); got != large || !s.Full() {
		t.Errorf("read %d bytes while there is no space, full: %v", len(got), s.Full())
	}
	var logged bytes.Buffer
	config.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	later := open(t, config)
	if !later.Full() || !strings.Contains(logged.String(), "NOSPACE") {
		t.Errorf("opened while there is no space: full %v, logged %q", later.Full(), &logged)
	}
	if m := later.Members(t.Context()); m[0].Err != nil || len(m[0].Alarms) != 1 || m[0].Quota != 4<<20 || m[0].Size < 3<<20 || !m[0].Leader {
		t.Errorf("member: %+v", m)
	}

	client := rootClient(t, c.urls[0], nil)
	current, err := client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), current.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Defragment(t.Context(), c.urls[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	if errs := f.commit(t.Context(), nil, blind("large", "small")); errs[0] != nil || s.Full() {
		t.Errorf("after room was made: %v, full: %v", errs, s.Full())
	}
}

// settled commits a change. If it is not known whether it was written, settled continues with the present revision of the
// fence, as a settlement does, and returns nil.
func (f *fenced) settled(t *testing.T, change store.Change) error {
	t.Helper()
	err := f.commit(t.Context(), nil, change)[0]
	if errors.Is(err, store.ErrUncertain) {
		r, err := f.Get(t.Context(), fenceKey)
		if err != nil {
			t.Fatal(err)
		}
		f.revision = r.Revision
		return nil
	}
	return err
}

// TestTheCommitThatExceedsTheQuota lets large commits be proposed together when there is space for only some of them. A member
// applies all of them and answers that there is no space, which must not be taken for a refusal.
func TestTheCommitThatExceedsTheQuota(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 4<<20)
	large := strings.Repeat("x", 512<<10)
	var brokers sync.WaitGroup
	for i := range 12 {
		s := open(t, etcdstore.Config{Endpoints: c.urls, TryFor: 10e9})
		fence := store.Fence{Key: fmt.Sprint("origin.", i), Value: []byte("plain")}
		brokers.Go(func() {
			_, errs := s.CommitFenced(t.Context(), fence, []store.Change{blind(fmt.Sprint("large.", i), large)}, nil)
			if records, err := s.GetMany(t.Context(), []string{fence.Key}); err != nil || errors.Is(errs[0], store.ErrReadOnly) && records[0].Revision != 0 {
				t.Errorf("the commit that returned %v was written (%v)", errs[0], err)
			}
		})
	}
	brokers.Wait()
}

func rootClient(t *testing.T, url string, change func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	config := clientv3.Config{Endpoints: []string{url}}
	if change != nil {
		change(&config)
	}
	client, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// commitAll commits changes as callers do: again if it is asked for, without those that have a result.
func commitAll(t *testing.T, f *fenced, seal func(round int) store.Seal, changes []store.Change) (rounds int) {
	t.Helper()
	for ; len(changes) > 0; rounds++ {
		var again []store.Change
		for i, err := range f.commit(t.Context(), seal(rounds), changes...) {
			switch {
			case errors.Is(err, store.ErrRetry), errors.Is(err, store.ErrTooBig) && i > 0:
				again = append(again, changes[i])
			case err != nil:
				t.Fatal(err)
			}
		}
		if rounds > 100 {
			t.Fatalf("%d changes are left after %d rounds", len(again), rounds)
		}
		changes = again
	}
	return rounds
}

// TestManyChanges commits more than one transaction holds, with and without events, each of several writes.
func TestManyChanges(t *testing.T) {
	s := open(t, config(t))
	f := fenced{Store: s}
	var changes []store.Change
	for i := range 300 {
		c := put(fmt.Sprintf("k%03d", i), strings.Repeat("x", 450), 0)
		c.Writes = append(c.Writes, blind(fmt.Sprintf("l%03d", i), "v").Writes...)
		if i%3 == 0 {
			c = withEvent(c)
		}
		changes = append(changes, c)
	}
	// The seal's batch is as large as one may be.
	seal := func(round int) store.Seal {
		return func(events []revocation.Event) ([]store.Write, error) {
			return sealTo(fmt.Sprint("batch.", round), strings.Repeat("b", revocation.MaxBatchBytes))(events)
		}
	}
	rounds := commitAll(t, &f, seal, changes)
	if rounds < 3 || rounds > 15 {
		t.Errorf("%d rounds", rounds)
	}
	for prefix, want := range map[string]int{"k": 300, "l": 300} {
		if records, err := s.List(t.Context(), prefix, "", 1000); err != nil || len(records) != want {
			t.Errorf("%d records below %q, %v", len(records), prefix, err)
		}
	}
}

// TestSixtyFourChanges: a commit of the committer's usual size is one transaction.
func TestSixtyFourChanges(t *testing.T) {
	f := fenced{Store: open(t, config(t))}
	var changes []store.Change
	for i := range 64 {
		changes = append(changes, blind(fmt.Sprint("k", i), "v"))
	}
	if rounds := commitAll(t, &f, func(int) store.Seal { return nil }, changes); rounds != 1 {
		t.Errorf("64 changes took %d rounds", rounds)
	}
	for i := range changes {
		changes[i] = withEvent(changes[i])
	}
	if rounds := commitAll(t, &f, func(int) store.Seal { return sealTo("batch", "b") }, changes); rounds != 1 {
		t.Errorf("64 changes with events took %d rounds", rounds)
	}
}

// TestLargestChange: what fits into a request is accepted, and what does not is refused before it is sent.
func TestLargestChange(t *testing.T) {
	s, a := observed(t, config(t))
	f := fenced{Store: s}
	if errs := f.commit(t.Context(), nil, blind("k", strings.Repeat("x", etcdstore.MaxTxnBytes-1024))); errs[0] != nil {
		t.Errorf("the largest value: %v", errs[0])
	}
	a.follow(nil)
	small, large := blind("s", "v"), blind("k", strings.Repeat("y", etcdstore.MaxTxnBytes))
	errs := f.commit(t.Context(), nil, large, small)
	if errs[0] == nil || errors.Is(errs[0], store.ErrTooBig) || errs[1] != nil {
		t.Errorf("a larger value and a small one: %v", errs)
	}
	errs = f.commit(t.Context(), nil, small, large, small)
	if errs[0] != nil || !errors.Is(errs[1], store.ErrTooBig) || !errors.Is(errs[2], store.ErrTooBig) {
		t.Errorf("a larger value between small ones: %v", errs)
	}
	many := store.Change{}
	for i := range etcdstore.DefaultMaxTxnOps {
		many.Writes = append(many.Writes, blind(fmt.Sprint(i), "v").Writes...)
	}
	if errs := f.commit(t.Context(), nil, many); errs[0] == nil || errors.Is(errs[0], store.ErrTooBig) {
		t.Errorf("a change of too many writes: %v", errs)
	}
	many.Writes = many.Writes[:etcdstore.DefaultMaxTxnOps-2]
	if errs := f.commit(t.Context(), nil, many); errs[0] != nil {
		t.Errorf("a change of many writes: %v", errs)
	}
	// Each commit moves the fence, also if every change is refused.
	if n := len(a.endpoints()); n != 4 {
		t.Errorf("%d requests were sent, want 4", n)
	}
}

// TestSmallRequests: members that accept less than usual get smaller transactions.
func TestSmallRequests(t *testing.T) {
	limit := etcdstore.MinTxnBytes + 4096
	small := func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if proto.Size(request.(proto.Message)) > limit {
			lookSent(opts)
			return rpctypes.ErrGRPCRequestTooLarge
		}
		return invoke(ctx, method, request, reply, cc, opts...)
	}
	f := fenced{Store: open(t, etcdstore.WithDialOption(config(t), grpc.WithChainUnaryInterceptor(small)))}
	var changes []store.Change
	for i := range 4 {
		changes = append(changes, blind(fmt.Sprint("k", i), strings.Repeat("x", 300<<10)))
	}
	if rounds := commitAll(t, &f, func(int) store.Seal { return nil }, changes); rounds < 3 {
		t.Errorf("%d rounds", rounds)
	}
	errs := f.commit(t.Context(), nil, blind("k", strings.Repeat("x", limit)))
	if errs[0] == nil || errors.Is(errs[0], store.ErrRetry) || errors.Is(errs[0], store.ErrTooBig) {
		t.Errorf("a change that never fits: %v", errs)
	}
}

func TestOpenRefusesOldMembers(t *testing.T) {
	for version, supported := range map[string]bool{"3.5.29": false, "2.9.0": false, "": false, "3.6.0": true, "3.10.1": true, "4.0.0-rc.1": true} {
		old := func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := invoke(ctx, method, request, reply, cc, opts...)
			if status, ok := reply.(*pb.StatusResponse); ok {
				status.Version = version
			}
			return err
		}
		s, err := etcdstore.Open(t.Context(), etcdstore.WithDialOption(config(t), grpc.WithChainUnaryInterceptor(old)))
		if supported != (err == nil) {
			t.Errorf("version %q: %v", version, err)
		}
		if err == nil {
			_ = s.Close()
		} else {
			wantText(t, err, "3.6 is needed")
		}
	}
}

func TestOpenRefusesSmallLimits(t *testing.T) {
	config := config(t)
	config.MaxTxnOps = 2 * etcdstore.DefaultMaxTxnOps
	_, err := etcdstore.Open(t.Context(), config)
	wantText(t, err, "--max-txn-ops is less than 256")
}

func TestOpenRefusesConfigurations(t *testing.T) {
	for _, tt := range []struct {
		config etcdstore.Config
		want   string
	}{
		{etcdstore.Config{}, "no endpoints"},
		{etcdstore.Config{Endpoints: []string{"etcd-1:2379"}}, "not a URL"},
		{etcdstore.Config{Endpoints: []string{"unix:///run/etcd"}}, "not a URL"},
		{etcdstore.Config{Endpoints: []string{"http://user:secret@etcd-1:2379"}}, "not a URL"},
		{etcdstore.Config{Endpoints: []string{"http://e"}, Prefix: "a"}, "slash"},
		{etcdstore.Config{Endpoints: []string{"http://e"}, Prefix: "a/b/"}, "slash"},
		{etcdstore.Config{Endpoints: []string{"http://e"}, Prefix: "/"}, "slash"},
		{etcdstore.Config{Endpoints: []string{"http://e"}, Username: "u"}, "together"},
		{etcdstore.Config{Endpoints: []string{"http://e"}, MaxTxnOps: 3}, "at least 16"},
	} {
		_, err := etcdstore.Open(t.Context(), tt.config)
		wantText(t, err, tt.want)
		if strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("the error has a password: %v", err)
		}
	}
}

// TestOpenEnds: Open waits for a member that answers until its context ends, and reports the reason.
func TestOpenEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	refuse := func(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
		if asked.Add(1) == 5 {
			cancel()
		}
		return errUnreachable
	}
	_, err := etcdstore.Open(ctx, etcdstore.WithDialOption(etcdstore.Config{Endpoints: freeURLs(1)}, grpc.WithChainUnaryInterceptor(refuse)))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantText(t, err, "connection refused")
}
