package bench

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// sizes returns the sizes of a store. The cost of a refresh must not depend on them.
func sizes() []int {
	if testing.Short() {
		return []int{1_000}
	}
	return []int{1_000, 10_000, 100_000, 1_000_000}
}

// BenchmarkRefreshGrowth measures broker.Refresh from 64 sessions at once, in stores with an
// increasing number of other sessions, each with a user and a record of its id, and with an
// increasing number of revocations in the broker's own denylist. Its floor, x-empty, is an empty
// store.
func BenchmarkRefreshGrowth(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			r := newRig(b, nil)
			fill(b, r.store, n)
			grow(b, r)
		})
		b.Run(fmt.Sprintf("revocations=%d", n), func(b *testing.B) {
			r := newRig(b, nil)
			end := time.Now().Add(time.Hour).Unix()
			for i := range n {
				r.denylist.Apply(revocation.Event{Kind: revocation.KindSID, Value: recordID(i, "sid"), At: end - 3600, ExpiresAt: end, Reason: revocation.ReasonLogoff})
			}
			grow(b, r)
		})
	}
}

func grow(b *testing.B, r *rig) {
	b.Helper()
	work, empty := r.refresh(b), newRig(b, nil).refresh(b)
	measure(b, clients, work, peer{name: "empty", work: empty, share: 1})
}

// fill writes n sessions of as many users directly into the store, in the same form as sign-ins
// write them, and in random key order.
func fill(tb testing.TB, s store.Store, n int) {
	tb.Helper()
	const each = 6_000
	now := time.Now()
	expires := now.Add(2184 * time.Hour).Unix()
	secret := sha256.Sum256([]byte("secret"))
	blind := func(key string, value []byte, expires int64) store.Change {
		return store.Change{Writes: []store.Write{{Key: key, Value: value, Blind: true, ExpiresAt: expires}}}
	}
	var changes []store.Change
	for i := range n {
		uid, sid := recordID(i, "uid"), recordID(i, "sid")
		user, err := session.NewUser(uid, fmt.Sprintf("other-%d", i), "", map[string]any{"email": fmt.Sprintf("other-%d@example.com", i)}, now).Encode()
		if err != nil {
			tb.Fatal(err)
		}
		record, err := (&session.Session{
			V: 1, UID: uid, SID: sid, Channel: session.ChannelCookie, ClientID: "demo-spa", Scope: "hello:read", Generation: rand.Uint32N(1000),
			RotationsMS: []int64{now.UnixMilli(), now.UnixMilli() - 300_000}, SecretHash: secret[:], AuthTime: now.Unix(), ACR: "1", AMR: []string{"pwd"},
			Device: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", CreatedAt: now.Unix(), LastUsed: now.Unix(),
			TokenExp: now.Unix() + 300, SIDExpires: expires,
		}).Encode()
		if err != nil {
			tb.Fatal(err)
		}
		changes = append(changes, blind("user."+uid, user, 0), blind("session."+uid+"."+sid, record, expires),
			blind("sid."+sid, fmt.Appendf(nil, `{"v":1,"uid":%q,"sid":%q}`, uid, sid), expires))
		if len(changes) >= each || i == n-1 {
			for _, err := range s.Commit(context.Background(), changes, nil) {
				if err != nil {
					tb.Fatal(err)
				}
			}
			changes = changes[:0]
		}
	}
}

// recordID returns a uid or sid that looks like a random one.
func recordID(i int, kind string) string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(kind), uint64(i)))
	return lowerBase32.EncodeToString(sum[:16])
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// BenchmarkSessionMemory measures how much the memory of the process grows with a million
// additional sessions in the store, each with a user and a record of its id, after refreshes of
// some of them. It reports the heap in use and the resident memory without file mappings, after a
// garbage collection, in bytes for each session. It reads them immediately after the writes, when
// Badger may still be flushing and compacting.
func BenchmarkSessionMemory(b *testing.B) {
	n := sizes()[len(sizes())-1]
	r := newRig(b, nil)
	work := r.refresh(b)
	heap, resident := memory(b)
	fill(b, r.store, n)
	if _, err := fromAll(clients, 10*clients, work); err != nil {
		b.Fatal(err)
	}
	heapAfter, residentAfter := memory(b)
	for b.Loop() { // no time is measured, so one iteration is enough
	}
	b.ReportMetric(float64(heapAfter-heap)/float64(n), "heap-B/session")
	b.ReportMetric(float64(residentAfter-resident)/float64(n), "resident-B/session")
}
