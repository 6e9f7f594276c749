package ledger_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/memstore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// glog's flusher comes with Badger's dependencies and cannot be stopped.
		goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// engines runs fn on each store.
func engines(t *testing.T, fn func(t *testing.T, s store.Store)) {
	t.Run("memstore", func(t *testing.T) { fn(t, memstore.New(nil)) })
	t.Run("badgerstore", func(t *testing.T) {
		s, err := badgerstore.Open(badgerstore.Config{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		fn(t, s)
	})
}

// process is a running broker: a ledger and what belongs to it.
type process struct {
	*ledger.Ledger
	t        *testing.T
	store    store.Store
	denylist *revocation.Denylist
}

func start(t *testing.T, s store.Store, change ...func(*ledger.Config)) *process {
	t.Helper()
	config := ledger.Config{Store: s, Denylist: revocation.NewDenylist()}
	for _, fn := range change {
		fn(&config)
	}
	l, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return &process{Ledger: l, t: t, store: s, denylist: config.Denylist}
}

// revoke commits events as the committer does and returns the head.
func (p *process) revoke(events ...revocation.Event) uint64 {
	p.t.Helper()
	if err := p.store.Commit(p.t.Context(), []store.Change{{Events: events}}, p.Seal)[0]; err != nil {
		p.t.Fatal(err)
	}
	return p.Committed()
}

func (p *process) answer(after string) revocation.Answer {
	p.t.Helper()
	a, err := p.Answer(p.t.Context(), after)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *process) keys(prefix string) []string {
	p.t.Helper()
	records, err := p.store.List(p.t.Context(), prefix, "", 1e6)
	if err != nil {
		p.t.Fatal(err)
	}
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys
}

// sid returns the revocation of a session whose tokens expire one minute from now.
func sid(value string) revocation.Event {
	now := time.Now().Unix()
	return revocation.Event{Kind: revocation.KindSID, Value: value, At: now, ExpiresAt: now + 60, Reason: revocation.ReasonLogoff}
}

func sub(value string, epoch int64) revocation.Event {
	e := sid(value)
	e.Kind, e.Epoch = revocation.KindSub, epoch
	return e
}
