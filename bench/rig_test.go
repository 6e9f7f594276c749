package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/broker/throttle"
	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

const (
	// clients is the number of sessions, each of its own user, that work concurrently.
	clients = 64
	issuer  = "http://127.0.0.1:8080"
	secret  = "lovelace"
)

// wirings are the measured brokers: with the default configuration, with one shard, and with two.
var wirings = []struct {
	name   string
	change func(*brokertest.Config)
}{
	{"broker", nil},
	{"broker-two-shards", func(cfg *brokertest.Config) { cfg.Shards = 2 }},
}

// rig is a broker on a real store, ledger and keyring, without a network.
type rig struct {
	*brokertest.Broker
	store    store.Store
	keys     *keyring.Keyring
	denylist *revocation.Denylist
	now      func() time.Time // the broker's clock
	oauth    *oauthclient.Service
	commits  atomic.Int64
	opened   [clients]int // sessions of each client
}

// userSessions is the number of sessions that a client opens as one user, because a broker limits
// the sessions of a user.
const userSessions = 50

// Committed implements [broker.Observer].
func (r *rig) Committed(int, []revocation.Event) { r.commits.Add(1) }

// Flushed implements [broker.Broadcast].
func (r *rig) Flushed(context.Context, string, uint64) bool { return true }

// newRig starts a broker on Badger with a user for each client. change, if any, modifies its configuration.
func newRig(tb testing.TB, change func(*brokertest.Config)) *rig {
	tb.Helper()
	return newRigOn(tb, ledger.Config{Store: openStore(tb)}, change)
}

// newRigOn is newRig on the store of a ledger's configuration.
func newRigOn(tb testing.TB, on ledger.Config, change func(*brokertest.Config)) *rig {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	ctx, quiet := tb.Context(), slog.New(slog.DiscardHandler)
	r := &rig{store: on.Store, denylist: revocation.NewDenylist()}
	if on.Run != nil {
		r.store = on.Run
	}
	on.Denylist, on.Logger = r.denylist, quiet
	book, err := ledger.Open(ctx, on)
	must(err)
	r.now = book.Now
	sealer, err := keyring.NewAESGCM(make([]byte, keyring.KEKSize))
	must(err)
	r.keys, err = keyring.Open(ctx, keyring.Config{Store: keyringStore{r.store}, Sealer: sealer, StoreID: book.StoreID(), Logger: quiet})
	must(err)
	cfg := brokertest.Config{
		Store: r.store, Signer: r.keys, Secrets: r.keys, Ledger: book, Broadcast: r, Denylist: r.denylist, Clock: book,
		Passwords: password.New(password.Params{Memory: 64, Time: 1, Threads: 1}, 4, 2*clients, 0),
		Throttle:  throttle.New(throttle.Config{}),
		Issuer:    issuer, Audience: []string{"demo-api"}, BrowserClient: "demo-spa", BrowserScope: "hello:read",
		Policy: session.Policy{
			AccessLife: 5 * time.Minute, Idle: 336 * time.Hour, Absolute: 2160 * time.Hour, Grace: 10 * time.Second,
		},
		Observer: r, Logger: quiet, Fatal: func(err error) { tb.Error(err) },
	}
	if change != nil {
		change(&cfg)
	}
	r.Broker = brokertest.Wire(cfg)
	r.oauth = oauthclient.New(oauthclient.Config{
		Path: r.Path, Store: r.store, Signer: r.keys, Secrets: r.keys, Clock: book, Issuer: issuer, Audience: cfg.Audience, Policy: cfg.Policy,
		Signers: int64(2 * runtime.GOMAXPROCS(0)), Logger: quiet,
	})
	tb.Cleanup(func() { must(r.Close(context.Background())) })
	must(r.PutClient(ctx, broker.Client{ID: "demo-spa", Scopes: []string{"hello:read"}}))
	for i := range clients {
		_, err := r.AddUser(ctx, operator.NewUser{Username: username(i), Password: secret}, broker.Request{})
		must(err)
	}
	return r
}

func openStore(tb testing.TB) *badgerstore.Store {
	tb.Helper()
	s, err := badgerstore.Open(badgerstore.Config{Dir: tb.TempDir(), Logger: slog.New(slog.DiscardHandler)})
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

func username(client int) string { return fmt.Sprintf("user-%02d", client) }

// signIn opens count sessions in total. Each client signs in as its own user first and then as
// additional ones.
func (r *rig) signIn(tb testing.TB, count int) []*broker.Grant {
	tb.Helper()
	grants := make([]*broker.Grant, count)
	var next atomic.Int64
	if _, err := fromAll(clients, count, func(client int) error {
		user := username(client)
		if nth := r.opened[client] / userSessions; nth > 0 {
			user = fmt.Sprintf("%s-%d", user, nth)
			if r.opened[client]%userSessions == 0 {
				if _, err := r.AddUser(context.Background(), operator.NewUser{Username: user, Password: secret}, broker.Request{}); err != nil {
					return err
				}
			}
		}
		r.opened[client]++
		grant, err := r.SignIn(context.Background(), user, secret, broker.Request{})
		if err == nil {
			grants[next.Add(1)-1] = grant
		}
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return grants
}

// refresh returns the work of refreshing each client's own session.
func (r *rig) refresh(tb testing.TB) func(client int) error {
	tb.Helper()
	grants := r.signIn(tb, clients)
	return func(client int) error {
		grant, err := r.Refresh(context.Background(), grants[client].RefreshToken, grants[client].CSRFToken, broker.Request{})
		if err == nil {
			grants[client] = grant
		}
		return err
	}
}

// sessionRecord returns the stored record of a session, so that the floors write as many bytes.
func (r *rig) sessionRecord(tb testing.TB) store.Record {
	tb.Helper()
	r.signIn(tb, 1)
	records, err := r.store.List(tb.Context(), "session.", "", 1)
	if err != nil || len(records) != 1 {
		tb.Fatalf("%d session records, error %v", len(records), err)
	}
	return records[0]
}

// keyringStore lets the keyring use the rig's store.
type keyringStore struct{ store store.Store }

func (k keyringStore) Load(ctx context.Context) ([]byte, uint64, error) {
	rec, err := k.store.Get(ctx, "keyring")
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, keyring.ErrEmpty
	}
	return rec.Value, uint64(rec.Revision), err
}

func (k keyringStore) CompareAndSwap(ctx context.Context, data []byte, rev uint64) error {
	return k.store.Commit(ctx, []store.Change{{Writes: []store.Write{{Key: "keyring", Value: data, Expect: store.Revision(rev)}}}}, nil)[0]
}
