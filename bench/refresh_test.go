package bench

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"tokenbroker/api"
	"tokenbroker/broker"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
	"tokenbroker/broker/store/badgerstore"
	"tokenbroker/broker/throttle"
	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
)

// clients is how many sessions refresh at once.
const clients = 64

// rig is a broker on a real store, ledger and keyring, without a network.
type rig struct {
	*broker.Broker
	store   *badgerstore.Store
	keys    *keyring.Keyring
	commits atomic.Int64
}

// Committed implements [broker.Observer].
func (r *rig) Committed(int, int) { r.commits.Add(1) }

// Flushed implements [broker.Broadcast].
func (r *rig) Flushed(context.Context, uint64) bool { return true }

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{}
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	var err error
	r.store, err = badgerstore.Open(badgerstore.Config{Dir: tb.TempDir()})
	must(err)
	deny := revocation.NewDenylist()
	l, err := ledger.Open(tb.Context(), ledger.Config{Store: r.store, Denylist: deny, Logger: slog.New(slog.DiscardHandler)})
	must(err)
	sealer, err := keyring.NewAESGCM(make([]byte, keyring.KEKSize))
	must(err)
	r.keys, err = keyring.Open(tb.Context(), keyring.Config{Store: keyringStore{r.store}, Sealer: sealer, StoreID: l.StoreID()})
	must(err)
	r.Broker = broker.New(broker.Config{
		Store: r.store, Signer: r.keys, Secrets: r.keys, Ledger: l, Broadcast: r, Denylist: deny, Clock: l,
		Passwords: password.New(password.Params{Memory: 64, Time: 1, Threads: 1}, 4, clients), Throttle: throttle.New(throttle.Config{}),
		Issuer: "http://127.0.0.1:8080", Audience: []string{"demo-api"}, BrowserClient: "demo-spa", BrowserScope: "hello:read",
		Policy:   session.Policy{AccessLife: 5 * time.Minute, Idle: 336 * time.Hour, Absolute: 2160 * time.Hour, Grace: 10 * time.Second},
		Observer: r, Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) { tb.Error(err) },
	})
	tb.Cleanup(func() {
		must(r.Close(context.Background()))
		must(r.store.Close())
	})
	_, err = r.AddUser(tb.Context(), "ada", "lovelace", nil)
	must(err)
	return r
}

func (r *rig) signIn(tb testing.TB) *broker.Grant {
	tb.Helper()
	grant, err := r.SignIn(tb.Context(), "ada", "lovelace", broker.Request{})
	if err != nil {
		tb.Fatal(err)
	}
	return grant
}

// keyringStore lets the keyring live in the rig's store.
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

// fromAll runs work b.N times, shared among the clients, and reports the rate and the p99.
func fromAll(b *testing.B, work func(client int) error) {
	b.Helper()
	var next atomic.Int64
	latencies := make([][]time.Duration, clients)
	var wg sync.WaitGroup
	b.ResetTimer()
	for client := range clients {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				began := time.Now()
				if err := work(client); err != nil {
					b.Error(err)
					return
				}
				latencies[client] = append(latencies[client], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(latencies...)
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkDurableRefresh puts refreshes through the broker, 64 at once, beside a
// transaction each of the same size and beside the signature alone.
func BenchmarkDurableRefresh(b *testing.B) {
	b.Run("broker", func(b *testing.B) {
		r := newRig(b)
		grants := make([]*broker.Grant, clients)
		for i := range grants {
			grants[i] = r.signIn(b)
		}
		before := r.commits.Load()
		fromAll(b, func(client int) error {
			grant, err := r.Refresh(context.Background(), grants[client].RefreshToken, grants[client].CSRFToken, broker.Request{})
			if err == nil {
				grants[client] = grant
			}
			return err
		})
		b.ReportMetric(float64(r.commits.Load()-before)/float64(b.N), "fsyncs/op")
	})
	b.Run("transaction-each", func(b *testing.B) {
		r := newRig(b)
		value := make([]byte, 400) // about a session record
		keys := make([]string, clients)
		for i := range keys {
			keys[i] = "bench." + strings.Repeat("k", i+1)
		}
		fromAll(b, func(client int) error {
			return r.store.Commit(context.Background(), []store.Change{{Writes: []store.Write{{Key: keys[client], Value: value, Blind: true}}}}, nil)[0]
		})
		b.ReportMetric(1, "fsyncs/op")
	})
	b.Run("signature-alone", func(b *testing.B) {
		r := newRig(b)
		claims, err := json.Marshal(map[string]any{"iss": "http://127.0.0.1:8080", "sub": strings.Repeat("s", 26), "pad": strings.Repeat("p", 300)})
		if err != nil {
			b.Fatal(err)
		}
		fromAll(b, func(int) error {
			_, err := r.keys.SignAccessToken(context.Background(), claims)
			return err
		})
	})
}

// BenchmarkRefreshHTTP is POST /auth/refresh/ over loopback from 64 keep-alive clients,
// beside a gin handler that makes one ES256 signature.
func BenchmarkRefreshHTTP(b *testing.B) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients, DialContext: (&net.Dialer{}).DialContext}}
	b.Cleanup(client.CloseIdleConnections)
	b.Run("broker", func(b *testing.B) {
		r := newRig(b)
		h, err := api.New(api.Config{
			Issuer: "http://127.0.0.1:8080", InsecureCookies: true, MaxTokenLifetime: 5 * time.Minute,
			Sessions: r, Clients: r, Verifier: none{}, Catchup: none{}, JWKS: noDocument, FeedJWKS: noDocument,
			Readiness: func(context.Context) []api.Check { return nil }, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.Fatal(err)
		}
		server := httptest.NewServer(h)
		b.Cleanup(server.Close)
		cookies, csrfs := make([]string, clients), make([]string, clients)
		for i := range clients {
			grant := r.signIn(b)
			cookies[i], csrfs[i] = "refresh_cookie="+grant.RefreshToken, `{"CSRF_token":"`+grant.CSRFToken+`"}`
		}
		fromAll(b, func(i int) error {
			resp, err := post(client, server.URL+"/auth/refresh/", csrfs[i], cookies[i])
			if err != nil {
				return err
			}
			set := resp.Cookies()
			cookies[i] = set[0].Name + "=" + set[0].Value
			return nil
		})
	})
	b.Run("gin-and-one-signature", func(b *testing.B) {
		r := newRig(b)
		gin.SetMode(gin.ReleaseMode)
		e := gin.New()
		e.POST("/auth/refresh/", func(c *gin.Context) {
			token, err := r.keys.SignAccessToken(c.Request.Context(), []byte(`{"sub":"`+strings.Repeat("s", 300)+`"}`))
			if err != nil {
				c.Status(http.StatusInternalServerError)
				return
			}
			c.JSON(http.StatusOK, map[string]string{"access_token": token})
		})
		server := httptest.NewServer(e)
		b.Cleanup(server.Close)
		fromAll(b, func(int) error {
			_, err := post(client, server.URL+"/auth/refresh/", `{"CSRF_token":"x"}`, "refresh_cookie=x")
			return err
		})
	})
}

// TestConcurrentRefreshesShareFsyncs: 64 refreshes that wait together cost few commits.
func TestConcurrentRefreshesShareFsyncs(t *testing.T) {
	r := newRig(t)
	grants := make([]*broker.Grant, clients)
	for i := range grants {
		grants[i] = r.signIn(t)
	}
	before := r.commits.Load()
	const rounds = 4
	for range rounds {
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				grant, err := r.Refresh(context.Background(), grants[i].RefreshToken, grants[i].CSRFToken, broker.Request{})
				if err != nil {
					t.Error(err)
					return
				}
				grants[i] = grant
			})
		}
		wg.Wait()
	}
	if commits := r.commits.Load() - before; commits > rounds*clients/2 {
		t.Errorf("%d refreshes cost %d commits", rounds*clients, commits)
	}
}
