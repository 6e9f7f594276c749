package simtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// patience is how long a broker waits for an answer of the engine.
const patience = 400 * time.Millisecond

var errAway = errors.New("the engine does not answer")

// link connects a broker and the engine. Every operation takes time on the way there and back; what it does at
// the engine it does at one instant. Planted bugs of the engine and of its client are here.
type link struct {
	p      *process
	handle *memstore.Handle
	fault  memstore.Fault // of the operation that is at the engine
	lists  []listing      // for planted bugs
}

var (
	_ store.Engine      = (*link)(nil)
	_ store.Snapshotter = (*link)(nil)
)

func newLink(p *process) *link {
	l := &link{p: p}
	l.handle = p.n.c.engine.Open(func(memstore.Op) memstore.Fault { return l.fault })
	return l
}

// cut reports whether the engine cannot be reached.
func (l *link) cut() bool {
	w := l.p.n.w
	return w.now < l.p.n.cutEngine || w.now < l.p.n.c.away
}

// at runs operate at the engine after the way there and waits for the way back. If the operation or its
// answer is lost, at waits for the patience to end. It returns whether there was an answer, or a context's error.
func (l *link) at(ctx context.Context, name string, operate func()) (answered bool, err error) {
	w, n := l.p.n.w, l.p.n
	back := make(chan struct{})
	wake := func(ok bool) func() {
		return func() {
			n.do(func() {
				answered = ok
				close(back)
				synctest.Wait()
			})
		}
	}
	w.ranked(w.clock(), l.p.rank(ctx, name), func() {
		out, in := w.between(0, n.delay), w.between(0, n.delay)
		switch {
		case l.cut():
			w.after(patience, wake(false))
		case out+in > patience:
			w.after(out, operate)
			w.after(patience, wake(false))
		default:
			w.after(out, func() {
				operate()
				if l.cut() {
					w.after(patience-out, wake(false))
					return
				}
				w.after(in, wake(true))
			})
		}
	})
	if err := l.p.wait(ctx, back); err != nil {
		return false, err
	}
	return answered, nil
}

// read runs one read at the engine.
func (l *link) read(ctx context.Context, name string, read func() error) error {
	failed := errAway
	answered, err := l.at(ctx, name, func() {
		if l.p.n.w.chance(l.p.n.readFaults) {
			return
		}
		l.fault = memstore.OK
		failed = read()
	})
	switch {
	case err != nil:
		return err
	case !answered:
		return errAway
	}
	return failed
}

// view reads one view of the engine.
type view struct {
	*link
	reader store.Reader
}

func (v *view) Get(ctx context.Context, key string) (r store.Record, err error) {
	var got store.Record
	if err := v.read(ctx, key, func() (err error) { got, err = v.reader.Get(context.Background(), key); return err }); err != nil {
		return store.Record{}, err
	}
	return got, nil
}

func (v *view) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	var got []store.Record
	if err := v.read(ctx, strings.Join(keys, " "), func() (err error) { got, err = v.reader.GetMany(context.Background(), keys); return err }); err != nil {
		return nil, err
	}
	return got, nil
}

func (v *view) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	var got []store.Record
	asked := v.p.n.w.clock()
	err := v.read(ctx, prefix+" "+after, func() (err error) {
		got, err = v.reader.List(context.Background(), prefix, after, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v.listed(asked, prefix, after, got)
}

func (l *link) whole() *view { return &view{link: l, reader: l.handle} }

func (l *link) Get(ctx context.Context, key string) (store.Record, error) {
	return l.whole().Get(ctx, key)
}

func (l *link) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	return l.whole().GetMany(ctx, keys)
}

func (l *link) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	return l.whole().List(ctx, prefix, after, limit)
}

// Snapshot implements [store.Snapshotter].
func (l *link) Snapshot() (store.Reader, func(), error) {
	reader, release, err := l.handle.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	return &view{link: l, reader: reader}, release, nil
}

// Follow implements [store.Engine]. The cluster sends the hints.
func (l *link) Follow(ctx context.Context, prefix string) <-chan struct{} {
	f := follower{ctx: ctx, n: l.p.n, prefix: prefix, hints: make(chan struct{}, 1)}
	l.p.n.w.after(0, func() { l.p.n.c.followers = append(l.p.n.c.followers, f) })
	return f.hints
}

// attempt is one commit as it was sent.
type attempt struct {
	node    *node
	fence   store.Fence
	changes []store.Change
	sealed  []store.Write
}

// keys returns the keys that the commit may write.
func (a *attempt) keys() []string {
	var keys []string
	if a.fence.Key != "" {
		keys = append(keys, a.fence.Key)
	}
	for _, change := range a.changes {
		for _, w := range change.Writes {
			keys = append(keys, w.Key)
		}
	}
	for _, w := range a.sealed {
		keys = append(keys, w.Key)
	}
	return keys
}

// CommitFenced implements [store.Engine]. As for an engine on the network, the ledger's writes are made when the
// commit is sent, and a change that writes a key of an earlier one is left for the next commit.
func (l *link) CommitFenced(ctx context.Context, fence store.Fence, changes []store.Change, seal store.Seal) (store.Revision, []error) {
	errs := make([]error, len(changes))
	a := &attempt{node: l.p.n, fence: fence}
	var events []revocation.Event
	taken := make(map[string]bool)
	for i, change := range changes {
		if slices.ContainsFunc(change.Writes, func(w store.Write) bool { return taken[w.Key] }) {
			errs[i] = store.ErrRetry
			continue
		}
		for _, w := range change.Writes {
			taken[w.Key] = true
		}
		a.changes = append(a.changes, change)
		events = append(events, change.Events...)
	}
	if len(events) > 0 {
		var err error
		if a.sealed, err = seal(events); err != nil {
			return 0, store.FailRest(errs, fmt.Errorf("sealing: %w", err))
		}
	}
	rev, results := l.send(ctx, a)
	for i := range errs {
		if errs[i] == nil {
			errs[i], results = results[0], results[1:]
		}
	}
	return rev, errs
}

// send sends a commit.
func (l *link) send(ctx context.Context, a *attempt) (store.Revision, []error) {
	refuse := func(err error) (store.Revision, []error) {
		return 0, store.FailRest(make([]error, len(a.changes)), err)
	}
	if rev, errs, done := l.settled(a); done {
		return rev, errs
	}
	var (
		rev  store.Revision
		errs []error
	)
	answered, err := l.at(ctx, "commit", func() {
		w := l.p.n.w
		l.fault = memstore.OK
		if w.chance(l.p.n.commitFaults) {
			l.fault = []memstore.Fault{memstore.Refuse, memstore.Keep, memstore.Duplicate, memstore.LoseAnswer}[w.rng.IntN(4)]
		}
		rev, errs = l.p.n.c.audit.commit(l, a)
		l.p.n.strike()
	})
	if err != nil || !answered || rev == 0 {
		counts["commits of unknown outcome"]++
	}
	switch {
	case err != nil:
		return refuse(fmt.Errorf("%w: %w", store.ErrUncertain, err))
	case !answered:
		return refuse(fmt.Errorf("%w: %w", store.ErrUncertain, errAway))
	}
	return l.result(rev, errs)
}
