package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/origins"
)

func keys(t *testing.T, r store.Reader, prefix string) []string {
	t.Helper()
	records, err := r.List(t.Context(), prefix, "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys
}

// TestPrefixes: stores of one cluster do not see each other, also if the name of one begins with that of another.
func TestPrefixes(t *testing.T) {
	config := config(t)
	base := strings.TrimSuffix(config.Prefix, "/")
	var stores []*etcdstore.Store
	for _, prefix := range []string{base + "/", base + "0/", base + "-/", base + "./"} {
		config.Prefix = prefix
		s := open(t, config)
		f := fenced{Store: s}
		for _, key := range []string{"k", "0/k", "/k", "\xff\xff"} {
			if errs := f.commit(t.Context(), nil, put(key, prefix, 0)); errs[0] != nil {
				t.Fatal(errs[0])
			}
		}
		stores = append(stores, s)
	}
	for i, s := range stores {
		if diff := cmp.Diff([]string{"/k", "0/k", "k", fenceKey, "\xff\xff"}, keys(t, s, "")); diff != "" {
			t.Errorf("store %d (-want +got):\n%s", i, diff)
		}
	}
}

// ranges calls before with each request to list keys.
func ranges(before func(n int, r *pb.RangeRequest) error) grpc.DialOption {
	var mu sync.Mutex
	n := 0
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if r, ok := request.(*pb.RangeRequest); ok {
			mu.Lock()
			n++
			now := n
			mu.Unlock()
			if err := before(now, r); err != nil {
				<-ctx.Done()
				return ctx.Err()
			}
		}
		return invoke(ctx, method, request, reply, cc, opts...)
	})
}

// TestListIsOneView: a list of several pages does not show what is written between them.
func TestListIsOneView(t *testing.T) {
	config := config(t)
	writer := open(t, config)
	f := fenced{Store: writer}
	const records = 2500
	var changes []store.Change
	for i := range records {
		changes = append(changes, blind(fmt.Sprintf("k%04d", i), strings.Repeat("x", 10)))
	}
	for len(changes) > 0 {
		n := min(len(changes), 60)
		for _, err := range f.commit(t.Context(), nil, changes[:n]...) {
			if err != nil {
				t.Fatal(err)
			}
		}
		changes = changes[n:]
	}
	var limits []int64
	s := open(t, etcdstore.WithDialOption(config, ranges(func(n int, r *pb.RangeRequest) error {
		limits = append(limits, r.Limit)
		last := store.Change{Writes: []store.Write{{Key: fmt.Sprintf("k%04d", records-1), Delete: true, Blind: true}}}
		if errs := f.commit(t.Context(), nil, blind("k0000", fmt.Sprint("new", n)), blind("k1", "new"), last); n > 1 && errs[0] != nil {
			t.Error(errs[0])
		}
		return nil
	})))
	view, release, err := store.Snapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	value(t, view, fmt.Sprintf("k%04d", records-1)) // determines the view
	if got := keys(t, view, "k"); len(got) != records || got[records-1] != fmt.Sprintf("k%04d", records-1) {
		t.Errorf("%d keys, the last is %s", len(got), got[len(got)-1])
	}
	if got := value(t, view, "k0000"); strings.HasPrefix(got, "new") {
		t.Error("the view shows what was written after it")
	}
	if got := keys(t, s, "k"); len(got) != records || got[1000] != "k0999" && got[1000] != "k1" {
		t.Errorf("later: %d keys", len(got))
	}
	if len(limits) < 6 || limits[0] != 128 || limits[1] != 1000 {
		t.Errorf("pages of %v", limits)
	}
}

// TestLargeRecordsAreListed: pages are smaller if the records are large, or if a page has not arrived in time.
func TestLargeRecordsAreListed(t *testing.T) {
	config := config(t)
	f := fenced{Store: open(t, config)}
	for i := range 12 {
		if errs := f.commit(t.Context(), nil, blind(fmt.Sprintf("batch.%02d", i), strings.Repeat("x", 512<<10))); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	config.TryFor = 500 * time.Millisecond
	var limits []int64
	s := open(t, etcdstore.WithDialOption(etcdstore.WithPatience(config, time.Minute), ranges(func(n int, r *pb.RangeRequest) error {
		limits = append(limits, r.Limit)
		if r.Limit > 8 {
			return errUnreachable
		}
		return nil
	})))
	if got := keys(t, s, "batch."); len(got) != 12 {
		t.Errorf("%d records", len(got))
	}
	if len(limits) < 4 || limits[0] != 128 || limits[1] != 32 || limits[2] != 8 || limits[len(limits)-1] > 8 {
		t.Errorf("pages of %v", limits)
	}
}

// TestExpiredRecordIsReplaced: a change that creates a record over an expired one, which is still in the cluster.
func TestExpiredRecordIsReplaced(t *testing.T) {
	config := config(t)
	a, b := fenced{Store: open(t, config)}, open(t, config)
	expire := func(key string) {
		w := blind(key, "old").Writes[0]
		w.ExpiresAt = time.Now().Unix() - 1
		if _, errs := b.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	create := func(key string, want error) {
		t.Helper()
		if err := a.commit(t.Context(), nil, put(key, "new", 0))[0]; !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("creating %s: %v, want %v", key, err, want)
		}
	}
	absent := func(key string) {
		t.Helper()
		if got, err := a.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, %v", key, got, err)
		}
	}
	expire("unread")
	create("unread", store.ErrConflict)
	absent("unread")
	create("unread", nil)
	create("unread", store.ErrConflict) // it is live now

	expire("removed") // read, then removed by another
	absent("removed")
	if _, errs := b.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{{Key: "removed", Delete: true, Blind: true}}}}, nil); errs[0] != nil {
		t.Fatal(errs[0])
	}
	create("removed", store.ErrConflict)
	absent("removed")
	create("removed", nil)

	expire("again") // read, then written and expired again
	absent("again")
	expire("again")
	create("again", store.ErrConflict)
	absent("again")
	create("again", nil)
}

// TestSettlement: a run settles a commit whose answer is lost. A change that an expired record has refused was part of the
// commit and was not written: it gets a conflict with and without the answer.
func TestSettlement(t *testing.T) {
	config := config(t)
	var wire wire
	s := open(t, etcdstore.WithDialOption(config, grpc.WithChainUnaryInterceptor(wire.intercept)))
	run, err := origins.Join(t.Context(), origins.Config{
		Engine: s, Name: "a", Address: "a.example", Build: "test", KEK: "kek", Wall: time.Now,
		Mono: func() time.Duration { return time.Since(began) }, Grace: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	expired := func(key string) store.Change {
		c := blind(key, "old")
		c.Writes[0].ExpiresAt = time.Now().Unix() - 1
		return c
	}
	other := open(t, config)
	if _, errs := other.CommitFenced(t.Context(), store.Fence{}, []store.Change{expired("x1"), expired("x2")}, nil); errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	for round, lose := range []bool{false, true} {
		key := func(s string) string { return fmt.Sprint(s, round+1) }
		if lose {
			wire.loseNext()
		}
		shared := blind(key("fresh"), "again")
		errs := run.Commit(t.Context(), []store.Change{put(key("x"), "new", 0), put(key("fresh"), "v", 0), withEvent(put(key("session"), "v", 0)), shared}, sealTo(key("batch"), "b"))
		for i, want := range []error{store.ErrConflict, nil, nil, store.ErrRetry} {
			if !errors.Is(errs[i], want) || want == nil && errs[i] != nil {
				t.Errorf("lost %v: change %d: %v, want %v", lose, i, errs[i], want)
			}
		}
		if _, err := s.Get(t.Context(), key("x")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("lost %v: the expired record: %v", lose, err)
		}
		if err := run.Commit(t.Context(), []store.Change{put(key("x"), "new", 0)}, nil)[0]; err != nil {
			t.Errorf("lost %v: after a read: %v", lose, err)
		}
		for _, k := range []string{"x", "fresh", "session", "batch"} {
			value(t, other, key(k))
		}
	}
}

var began = time.Now()

// TestEachOfACompactedRevision compacts the cluster while records are read: the error says so, and a second reading succeeds.
func TestEachOfACompactedRevision(t *testing.T) {
	s := open(t, config(t))
	f := fenced{Store: s}
	const records = 200 // more than a page
	for i := 0; i < records; i += 50 {
		var changes []store.Change
		for j := range 50 {
			changes = append(changes, put(fmt.Sprintf("k%03d", i+j), "v", 0))
		}
		for _, err := range f.commit(t.Context(), nil, changes...) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	client := rootClient(t, shared.urls[0], nil)
	read, compact := 0, true
	each := func() error {
		read = 0
		return s.Each(t.Context(), "k", func(store.Write) error {
			if read++; read > 1 || !compact {
				return nil
			}
			compact = false
			if errs := f.commit(t.Context(), nil, blind("other", "v")); errs[0] != nil {
				return errs[0]
			}
			_, err := client.Compact(t.Context(), int64(f.revision))
			return err
		})
	}
	if err := each(); !errors.Is(err, etcdstore.ErrCompacted) || read >= records {
		t.Errorf("%d records were read, %v", read, err)
	}
	if err := each(); err != nil || read != records {
		t.Errorf("the second time: %d records, %v", read, err)
	}
}
