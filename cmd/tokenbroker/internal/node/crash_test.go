package node_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/broker/throttle"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// TestKilledBetweenTheStepsOfALogOff lets a process kill itself at each step. After any step,
// the tombstone and the ledger's entry either both exist or are both missing, and from the fsync
// on both exist.
func TestKilledBetweenTheStepsOfALogOff(t *testing.T) {
	for step, durable := range map[string]bool{
		"before the commit": false, "sealed, before the fsync": false,
		"on disk, before the denylist": true, "before the answer": true, "answered": true,
	} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			grant := logOffKilledAt(t, dir, step)
			after := openCrashBroker(t, filepath.Join(dir, "store"), "")

			answer, err := after.ledger.Answer(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			recorded := slices.ContainsFunc(answer.Events, func(e revocation.Event) bool { return e.Value == grant.SID })
			if denied := after.deny.Revoked(revocation.Subject{SID: grant.SID}); denied != recorded {
				t.Errorf("in the denylist: %t, in the ledger: %t", denied, recorded)
			}
			// Without a tombstone a denylisted session is refused with another code.
			_, err = after.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, broker.Request{})
			refusal, _ := errors.AsType[*broker.Error](err)
			tombstone := refusal != nil && refusal.Code == broker.CodeSessionEnded
			if err != nil && !tombstone {
				t.Errorf("refresh: %v", err)
			}
			if tombstone != recorded || recorded != durable {
				t.Errorf("tombstone: %t, ledger's entry: %t, want both %t", tombstone, recorded, durable)
			}
			// A client that received no answer repeats the log-off.
			again, err := after.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, broker.Request{})
			if err != nil || !again.Ended || !after.deny.Revoked(revocation.Subject{SID: grant.SID}) {
				t.Errorf("the log-off asked again: %+v, %v", again, err)
			}
		})
	}
}

const (
	crashDirEnv  = "TOKENBROKER_TEST_CRASH_DIR"
	crashStepEnv = "TOKENBROKER_TEST_CRASH_STEP"
	grantFile    = "grant.json"
)

// logOffKilledAt runs TestLogOffOfTheKilledProcess in its own process, with its store in dir, and
// returns the session that the process logged off when it was killed.
func logOffKilledAt(t *testing.T, dir, step string) broker.Grant {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLogOffOfTheKilledProcess$", "-test.v")
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir, crashStepEnv+"="+step)
	out, err := cmd.CombinedOutput()
	if ended, ok := errors.AsType[*exec.ExitError](err); !ok || ended.ExitCode() != -1 {
		t.Fatalf("not killed at %q: %v\n%s", step, err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, grantFile))
	if err != nil {
		t.Fatal(err)
	}
	var grant broker.Grant
	if err := json.Unmarshal(text, &grant); err != nil {
		t.Fatal(err)
	}
	return grant
}

// TestLogOffOfTheKilledProcess is not a test. The killed process runs it.
func TestLogOffOfTheKilledProcess(t *testing.T) {
	dir, step := os.Getenv(crashDirEnv), os.Getenv(crashStepEnv)
	if dir == "" {
		t.Skip("only run by TestKilledBetweenTheStepsOfALogOff")
	}
	b := openCrashBroker(t, filepath.Join(dir, "store"), step)
	if _, err := b.AddUser(t.Context(), operator.NewUser{Username: "ada", Password: "lovelace"}, broker.Request{}); err != nil {
		t.Fatal(err)
	}
	grant, err := b.SignIn(t.Context(), "ada", "lovelace", broker.Request{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(grant)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, grantFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	b.steps.armed.Store(true)
	if _, err := b.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, broker.Request{}); err != nil {
		t.Fatal(err)
	}
	b.steps.at("answered")
}

// steps kills the process at one of them, once armed.
type steps struct {
	fatal string
	armed atomic.Bool
}

func (s *steps) at(step string) {
	if step != s.fatal || !s.armed.Load() {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // wait for the signal without another step
}

type crashBroker struct {
	*brokertest.Broker
	ledger *ledger.Ledger
	deny   *revocation.Denylist
	steps  *steps
}

// openCrashBroker opens a broker on dir that kills its process at the named step.
func openCrashBroker(t *testing.T, dir, fatal string) *crashBroker {
	t.Helper()
	disk, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	deny, at := revocation.NewDenylist(), &steps{fatal: fatal}
	l, err := ledger.Open(t.Context(), ledger.Config{Store: disk, Denylist: deny, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.Wire(brokertest.Config{
		Store: steppedStore{disk, at}, Ledger: steppedLedger{l, at}, Signer: fixed{}, Secrets: fixed{}, Broadcast: fixed{},
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
	return &crashBroker{b, l, deny, at}
}

type steppedStore struct {
	store.Store
	steps *steps
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
	steps *steps
}

func (l steppedLedger) Committed() uint64 {
	l.steps.at("on disk, before the denylist")
	seq := l.Ledger.Committed()
	l.steps.at("before the answer")
	return seq
}

// fixed implements every port that the steps of a log-off do not depend on.
type fixed struct{}

func (fixed) SignAccessToken(_ context.Context, claims []byte) (string, error) {
	return base64.RawURLEncoding.EncodeToString(claims), nil
}
func (fixed) SignIDToken(_ context.Context, build func(string) ([]byte, error)) (string, error) {
	claims, err := build("ES256")
	return base64.RawURLEncoding.EncodeToString(claims), err
}
func (fixed) Keys(purpose string) [][]byte                                 { return [][]byte{[]byte("key of " + purpose)} }
func (fixed) Outdated() error                                              { return nil }
func (fixed) Flushed(context.Context, string, uint64) bool                 { return true }
func (fixed) Hash(_ context.Context, p string) (string, error)             { return p, nil }
func (fixed) VerifyUnknown(context.Context, password.Caller, string) error { return nil }
func (fixed) Allow(string, string) (time.Duration, bool)                   { return 0, true }
func (fixed) Known(string) bool                                            { return false }
func (fixed) Done(string, string, throttle.Outcome)                        {}
func (fixed) Committed(int, []revocation.Event)                            {}
func (fixed) Verify(_ context.Context, _ password.Caller, p, e string) (ok, again bool, err error) {
	return p == e, false, nil
}
