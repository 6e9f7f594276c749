package node

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/keyring"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// TestTokenLivesOfBrokersThatAreConfiguredDifferently changes the life of access tokens one broker at a time. No token may
// live longer than what any broker publishes, since the time for which services cache it.
func TestTokenLivesOfBrokersThatAreConfiguredDifferently(t *testing.T) {
	const short, long = 5 * time.Minute, 10 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		engine := memstore.NewEngine(nil)
		sealer, err := keyring.NewAESGCM(bytes.Repeat([]byte{1}, keyring.KEKSize))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		mono := func() time.Duration { return time.Since(began) }
		live := map[string]*Node{}
		join := func(name string, life time.Duration) {
			t.Helper()
			n := &Node{began: began}
			n.cfg.Policy.AccessLife, n.cfg.Logger = life, slog.New(slog.DiscardHandler)
			run, err := origins.Join(t.Context(), origins.Config{
				Engine: engine.Open(nil), Name: name, KEK: "k", AccessLife: life, Mono: mono, Logger: n.cfg.Logger,
			})
			if err != nil {
				t.Fatal(err)
			}
			n.cluster = &cluster{Node: n, run: run}
			n.keys, err = keyring.Open(t.Context(), keyring.Config{
				Store: keyringStore{run}, Sealer: sealer, StoreID: "s", Shared: true, Mono: mono, Logger: n.cfg.Logger,
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := n.settleLife(t.Context()); err != nil {
				t.Fatal(err)
			}
			live[name] = n
		}
		leave := func(name string) {
			if err := live[name].cluster.run.Leave(context.Background()); err != nil {
				t.Fatal(err)
			}
			delete(live, name)
		}
		published := map[time.Time]time.Duration{} // the shortest that any broker published
		pass := func(d time.Duration) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				now := time.Now()
				least := time.Hour
				for name, n := range live {
					if err := n.cluster.run.Tick(t.Context()); err != nil {
						t.Fatal(err)
					}
					if int(mono().Seconds())%10 == 0 { // often enough that the keyring counts as followed
						if _, err := n.settleLife(t.Context()); err != nil {
							t.Fatalf("broker %s: %v", name, err)
						}
					}
					least = min(least, n.publishedLife())
				}
				published[now] = least
				for name, n := range live {
					for cached := now.Add(-5 * time.Minute); !cached.After(now); cached = cached.Add(time.Second) {
						if known, ok := published[cached]; ok && n.accessLife() > known {
							t.Fatalf("%v: broker %s signs %v, and %v was published %v ago", mono(), name, n.accessLife(), known, now.Sub(cached))
						}
					}
				}
			}
		}
		want := func(what string, sign map[string]time.Duration, publish time.Duration) {
			t.Helper()
			for name, n := range live {
				if n.accessLife() != sign[name] || n.publishedLife() != publish {
					t.Errorf("%s: broker %s signs %v and publishes %v", what, name, n.accessLife(), n.publishedLife())
				}
			}
		}
		join("a", short)
		join("b", short)
		pass(10 * time.Minute)
		want("at first", map[string]time.Duration{"a": short, "b": short}, short)

		pass(time.Second)
		leave("a")
		join("a", long)
		pass(3 * time.Second) // in which b does not read the keyring
		want("one has just been raised", map[string]time.Duration{"a": short, "b": short}, long)
		pass(20 * time.Minute)
		want("one is raised", map[string]time.Duration{"a": long, "b": short}, long)
		leave("b")
		join("b", long)
		pass(20 * time.Minute)
		want("both are raised", map[string]time.Duration{"a": long, "b": long}, long)

		leave("a")
		join("a", short)
		pass(30 * time.Minute)
		want("one is lowered", map[string]time.Duration{"a": short, "b": long}, long)
		leave("b")
		join("b", short)
		pass(long)
		want("its tokens still live", map[string]time.Duration{"a": short, "b": short}, long)
		pass(10 * time.Minute)
		want("both are lowered", map[string]time.Duration{"a": short, "b": short}, short)
	})
}
