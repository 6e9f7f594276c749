package bench

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tokenbroker/broker/brokertest"
	"tokenbroker/store"
)

// BenchmarkRefreshDurable measures a refresh from 64 sessions at once, and its floors: a transaction
// for each write, an append to a file with a sync, and a signature.
func BenchmarkRefreshDurable(b *testing.B) {
	for _, w := range wirings {
		b.Run(w.name, func(b *testing.B) { benchBroker(b, w.change) })
	}
	b.Run("transaction-each", func(b *testing.B) { measure(b, clients, transactionEach(b, newRig(b, nil))) })
	b.Run("append-and-sync", func(b *testing.B) { measure(b, clients, appendAndSync(b, newRig(b, nil))) })
	b.Run("signature", func(b *testing.B) { measure(b, clients, signature(b, newRig(b, nil))) })
}

func benchBroker(b *testing.B, change func(*brokertest.Config)) {
	b.Helper()
	r := newRig(b, change)
	work := r.refresh(b)
	each, signing := transactionEach(b, r), signature(b, r)
	before := r.commits.Load()
	measure(b, clients, work,
		peer{name: "transaction-each", work: each, share: 5},
		peer{name: "signature", work: signing, share: 1})
	commits := float64(r.commits.Load() - before)
	b.ReportMetric(commits/float64(b.N), "commits/op")
	b.ReportMetric(float64(b.N)/commits, "refreshes/commit")
}

// transactionEach writes a session's record in its own transaction. Each client writes its own key into a
// separate store.
func transactionEach(tb testing.TB, r *rig) func(client int) error {
	tb.Helper()
	s, record := openStore(tb), r.sessionRecord(tb)
	return func(client int) error {
		write := store.Write{Key: record.Key + username(client), Value: record.Value, Blind: true}
		return s.Commit(context.Background(), []store.Change{{Writes: []store.Write{write}}}, nil)[0]
	}
}

// appendAndSync appends as many bytes to a file and syncs it, one client after the other.
func appendAndSync(tb testing.TB, r *rig) func(client int) error {
	tb.Helper()
	record := r.sessionRecord(tb)
	line := append([]byte(record.Key), record.Value...)
	f, err := os.Create(filepath.Join(tb.TempDir(), "log"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	var mu sync.Mutex
	return func(int) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := f.Write(line); err != nil {
			return err
		}
		return syncData(f)
	}
}

// signature signs the claims of a real access token and stores nothing.
func signature(tb testing.TB, r *rig) func(client int) error {
	tb.Helper()
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(r.signIn(tb, 1)[0].AccessToken, ".")[1])
	if err != nil {
		tb.Fatal(err)
	}
	return func(int) error {
		_, err := r.keys.SignAccessToken(context.Background(), claims)
		return err
	}
}
