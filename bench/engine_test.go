package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
)

// BenchmarkEngineRefreshes measures broker.Refresh on three etcd members on this machine, from several clients at once.
// x-append-and-sync compares the rates, p50-x-append-and-sync the median times.
func BenchmarkEngineRefreshes(b *testing.B) { benchEngineRefreshes(b, onEtcd(b)) }

// BenchmarkPostgresRefreshes measures the same on a PostgreSQL primary with a synchronous standby.
func BenchmarkPostgresRefreshes(b *testing.B) { benchEngineRefreshes(b, onPostgres(b)) }

func benchEngineRefreshes(b *testing.B, open func(testing.TB) store.Engine) {
	b.Helper()
	for _, n := range atOnce() {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			r := newRigOn(b, ledger.Config{Run: join(b, open(b))}, nil)
			work := r.refreshEach(b, n)
			before := r.commits.Load()
			own, others := measure(b, n, work, peer{name: "append-and-sync", work: appendAndSync(b, r), share: 1})
			b.ReportMetric(own.quantile(0.5)/others[0].quantile(0.5), "p50-x-append-and-sync")
			b.ReportMetric(float64(b.N)/float64(r.commits.Load()-before), "refreshes/commit")
		})
	}
}

// BenchmarkEngineLogOffs measures broker.LogOff on three etcd members on this machine, from several clients at once.
func BenchmarkEngineLogOffs(b *testing.B) { benchEngineLogOffs(b, onEtcd(b)) }

// BenchmarkPostgresLogOffs measures the same on a PostgreSQL primary with a synchronous standby.
func BenchmarkPostgresLogOffs(b *testing.B) { benchEngineLogOffs(b, onPostgres(b)) }

func benchEngineLogOffs(b *testing.B, open func(testing.TB) store.Engine) {
	b.Helper()
	for _, n := range atOnce() {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			r := newRigOn(b, ledger.Config{Run: join(b, open(b))}, nil)
			measure(b, n, r.logOff(b, b.N), peer{name: "append-and-sync", work: appendAndSync(b, r), share: 1})
		})
	}
}

// BenchmarkEngineClient measures the processor time that the client of etcd uses in the broker, for each refresh of a round: its
// share of one read of all records and of one commit. x-signature compares it with that of one ES256 signature.
func BenchmarkEngineClient(b *testing.B) { benchEngineClient(b, onEtcd(b)) }

// BenchmarkPostgresClient measures the same of the client of PostgreSQL.
func BenchmarkPostgresClient(b *testing.B) { benchEngineClient(b, onPostgres(b)) }

func benchEngineClient(b *testing.B, open func(testing.TB) store.Engine) {
	b.Helper()
	run := join(b, open(b))
	reader, _ := store.Provisional(run) // confirmed by the commit
	for _, n := range []int{1, 32, 64} {
		b.Run(fmt.Sprintf("changes=%d", n), func(b *testing.B) {
			keys := []string{"floor", "client.demo-spa"}
			changes := make([]store.Change, n)
			value := make([]byte, 450)
			for i := range changes {
				uid, sid := recordID(i, "uid"), recordID(i, "sid")
				keys = append(keys, "user."+uid, "session."+uid+"."+sid)
				changes[i].Writes = []store.Write{{Key: keys[len(keys)-1], Value: value, Blind: true, ExpiresAt: time.Now().Unix() + 3600}}
			}
			round := func() {
				for _, err := range run.Commit(b.Context(), changes, nil) {
					if err != nil {
						b.Fatal(err)
					}
				}
				records, err := reader.GetMany(b.Context(), keys)
				if err != nil {
					b.Fatal(err)
				}
				for i := range changes {
					changes[i].Writes[0].Blind = false
					changes[i].Writes[0].Expect = records[3+2*i].Revision
				}
			}
			round()
			var used, signing time.Duration
			for b.Loop() {
				before := processorTime(b)
				round()
				between := processorTime(b)
				signFor(b, n)
				used, signing = used+between-before, signing+processorTime(b)-between
			}
			refreshes := float64(b.N * n)
			b.ReportMetric(float64(used.Nanoseconds())/1000/refreshes, "cpu-µs/refresh")
			b.ReportMetric(float64(used)/float64(signing), "x-signature")
		})
	}
}

// signFor makes n ES256 signatures.
func signFor(tb testing.TB, n int) {
	tb.Helper()
	hash := sha256.Sum256([]byte("claims"))
	for range n {
		if _, err := ecdsa.SignASN1(rand.Reader, signingKey(), hash[:]); err != nil {
			tb.Fatal(err)
		}
	}
}

var signingKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})
