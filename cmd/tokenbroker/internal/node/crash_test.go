package node_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
	"tokenbroker/broker/store/badgerstore"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
)

// TestKilledBetweenTheStepsOfALogOff takes the directory as a kill -9 would leave it at
// each step. Whatever the step, the tombstone and the ledger's entry are both there or
// both not, and from the fsync on they are there.
func TestKilledBetweenTheStepsOfALogOff(t *testing.T) {
	steps := &snapshots{t: t, dir: filepath.Join(t.TempDir(), "live"), taken: map[string]string{}}
	b := openCrashBroker(t, steps.dir, steps)
	if _, err := b.AddUser(t.Context(), "ada", "lovelace", nil); err != nil {
		t.Fatal(err)
	}
	grant, err := b.SignIn(t.Context(), "ada", "lovelace", broker.Request{})
	if err != nil {
		t.Fatal(err)
	}
	steps.armed = true
	if _, err := b.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, broker.Request{}); err != nil {
		t.Fatal(err)
	}
	steps.at("answered")

	for step, durable := range map[string]bool{
		"before the commit": false, "sealed, before the fsync": false,
		"on disk, before the denylist": true, "before the answer": true, "answered": true,
	} {
		t.Run(step, func(t *testing.T) {
			dir, ok := steps.taken[step]
			if !ok {
				t.Fatalf("a log-off has no such step; it has %v", steps.taken)
			}
			after := openCrashBroker(t, dir, nil)
			revoked := after.deny.Revoked(revocation.Subject{SID: grant.SID})
			_, err := after.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, broker.Request{})
			if ended := err != nil; ended != revoked {
				t.Errorf("session ended: %t (%v), ledger entry: %t", ended, err, revoked)
			}
			if revoked != durable {
				t.Errorf("revoked: %t, want %t", revoked, durable)
			}
		})
	}
}

// snapshots copies the data directory at the named steps.
type snapshots struct {
	t     *testing.T
	dir   string
	armed bool
	taken map[string]string
}

func (s *snapshots) at(step string) {
	if s == nil || !s.armed {
		return
	}
	dir := filepath.Join(s.t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		s.t.Error(err)
	}
	s.taken[step] = dir
}

type crashBroker struct {
	*broker.Broker
	deny *revocation.Denylist
}

func openCrashBroker(t *testing.T, dir string, steps *snapshots) *crashBroker {
	t.Helper()
	disk, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	deny := revocation.NewDenylist()
	l, err := ledger.Open(t.Context(), ledger.Config{Store: disk, Denylist: deny, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b := broker.New(broker.Config{
		Store: steppedStore{disk, steps}, Ledger: steppedLedger{l, steps}, Signer: fixed{}, Secrets: fixed{}, Broadcast: fixed{},
		Denylist: deny, Clock: l, Passwords: fixed{}, Throttle: fixed{}, Observer: fixed{},
		Issuer: "http://issuer.test", Audience: []string{"a"}, BrowserClient: "spa",
		Policy: session.Policy{AccessLife: 5 * time.Minute, Idle: time.Hour, Absolute: time.Hour, Grace: 10 * time.Second},
		Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) },
	})
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return &crashBroker{b, deny}
}

type steppedStore struct {
	store.Store
	steps *snapshots
}

func (s steppedStore) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	s.steps.at("before the commit")
	return s.Store.Commit(ctx, changes, func(accepted []revocation.Event) ([]store.Write, error) {
		writes, err := seal(accepted)
		s.steps.at("sealed, before the fsync")
		return writes, err
	})
}

type steppedLedger struct {
	*ledger.Ledger
	steps *snapshots
}

func (l steppedLedger) Committed() uint64 {
	l.steps.at("on disk, before the denylist")
	seq := l.Ledger.Committed()
	l.steps.at("before the answer")
	return seq
}

// fixed is every port that a log-off's steps do not depend on.
type fixed struct{}

func (fixed) SignAccessToken(_ context.Context, claims []byte) (string, error) {
	return base64.RawURLEncoding.EncodeToString(claims), nil
}
func (fixed) Keys(purpose string) [][]byte                     { return [][]byte{[]byte("key of " + purpose)} }
func (fixed) Flushed(context.Context, uint64) bool             { return true }
func (fixed) Hash(_ context.Context, p string) (string, error) { return p, nil }
func (fixed) VerifyUnknown(context.Context, string) error      { return nil }
func (fixed) Allow(string, string) (time.Duration, bool)       { return 0, true }
func (fixed) Failed(string, string)                            {}
func (fixed) Succeeded(string, string)                         {}
func (fixed) Committed(int, int)                               {}
func (fixed) Verify(_ context.Context, p, e string) (ok, again bool, err error) {
	return p == e, false, nil
}
