package bench

import (
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"tokenbroker/revocation"
)

// denylistSizes returns the numbers of revoked sessions. Ten million take a minute and a few GiB,
// so they are measured only if TOKENBROKER_BENCH_10M is set.
func denylistSizes() []int {
	if testing.Short() {
		return []int{1_000}
	}
	sizes := []int{1_000, 10_000, 100_000, 1_000_000}
	if os.Getenv("TOKENBROKER_BENCH_10M") != "" {
		sizes = append(sizes, 10_000_000)
	}
	return sizes
}

// BenchmarkDenylistLookUp measures [revocation.Denylist.Judge] of a token whose session is revoked
// (hit) and of a token that is not revoked (miss), in the bounded denylist of a service, compared
// with a look-up of 16 bytes in a plain map of the same size and in a golang-lru.
func BenchmarkDenylistLookUp(b *testing.B) {
	for _, size := range denylistSizes() {
		in := newIDs(size)
		d := revocation.NewCappedDenylist(size)
		in.revoke(d)
		plain, cache := make(map[[16]byte]int64), newLRU(b, size)
		for i := range size {
			plain[in.id(i)] = in.end
			cache.Add(in.id(i), in.end)
		}
		for _, line := range []struct {
			name    string
			offset  int // of the first id that is looked up
			verdict revocation.Verdict
		}{{"hit", 0, revocation.Revoked}, {"miss", size, revocation.NotRevoked}} {
			b.Run(fmt.Sprintf("%s/entries=%d", line.name, size), func(b *testing.B) {
				ask := in.asked(line.offset)
				race(b, func(i int) {
					if d.Judge(ask.subject(i), 0) != line.verdict {
						b.Fatal("a wrong verdict")
					}
				}, contestant{"map", func(i int) {
					if _, ok := plain[ask.ids[i&askMask]]; ok != (line.verdict == revocation.Revoked) {
						b.Fatal("the map is wrong")
					}
				}}, contestant{"lru", func(i int) {
					if _, ok := cache.Peek(ask.ids[i&askMask]); ok != (line.verdict == revocation.Revoked) {
						b.Fatal("the cache is wrong")
					}
				}})
			})
		}
	}
}

// BenchmarkDenylistFill inserts the given number of sessions into an empty denylist, in batches of
// 2,000 events, compared with inserting the same ids into a plain map and into a golang-lru.
// bytes/entry is the growth of the heap. The denylist receives the ids as text, as in a message.
func BenchmarkDenylistFill(b *testing.B) {
	for _, size := range denylistSizes() {
		in := newIDs(size)
		batches := in.batches()
		for _, line := range []struct {
			name string
			make func() *revocation.Denylist
		}{
			{"capped", func() *revocation.Denylist { return revocation.NewCappedDenylist(size) }},
			{"uncapped", revocation.NewDenylist},
		} {
			b.Run(fmt.Sprintf("%s/entries=%d", line.name, size), func(b *testing.B) {
				var own, plain, cache filled
				for b.Loop() {
					own.add(func() any {
						d := line.make()
						for _, batch := range batches {
							d.Apply(batch...)
						}
						return d
					})
					plain.add(func() any {
						m := make(map[[16]byte]int64)
						for i := range size {
							m[in.id(i)] = in.end
						}
						return m
					})
					cache.add(func() any {
						c := newLRU(b, size)
						for i := range size {
							c.Add(in.id(i), in.end)
						}
						return c
					})
				}
				entries := float64(size) * float64(own.times)
				b.ReportMetric(float64(own.took.Nanoseconds())/entries, "ns/entry")
				b.ReportMetric(own.bytes/entries, "bytes/entry")
				b.ReportMetric(plain.bytes/entries, "map-bytes/entry")
				b.ReportMetric(cache.bytes/entries, "lru-bytes/entry")
				b.ReportMetric(own.took.Seconds()/plain.took.Seconds(), "x-map")
				b.ReportMetric(own.took.Seconds()/cache.took.Seconds(), "x-lru")
			})
		}
	}
}

// BenchmarkDenylistCollect removes entries that have all expired, and then runs again when nothing
// has expired, compared with deleting all ids from a plain map.
func BenchmarkDenylistCollect(b *testing.B) {
	for _, size := range denylistSizes() {
		in := newIDs(size)
		in.length = 0 // only the broker's clock has an effect
		b.Run(fmt.Sprintf("entries=%d", size), func(b *testing.B) {
			var removed, idle, plain time.Duration
			times := 0
			for b.Loop() {
				times++
				d := revocation.NewCappedDenylist(size)
				in.revoke(d)
				idle += stopwatch(func() { d.Collect(in.end - 1) })
				removed += stopwatch(func() {
					if d.Collect(in.end) != size {
						b.Fatal("entries are left")
					}
				})
				m := make(map[[16]byte]int64)
				for i := range size {
					m[in.id(i)] = in.end
				}
				plain += stopwatch(func() {
					for i := range size {
						delete(m, in.id(i))
					}
				})
			}
			entries := float64(size) * float64(times)
			b.ReportMetric(float64(removed.Nanoseconds())/entries, "ns/entry")
			b.ReportMetric(float64(idle.Nanoseconds())/float64(times), "idle-ns")
			b.ReportMetric(removed.Seconds()/plain.Seconds(), "x-map")
		})
	}
}

// ids are random 16-byte ids, which are the same in each run.
type ids struct {
	size   int
	seed   uint64
	end    int64 // of each entry, in Unix seconds
	length int64
}

func newIDs(size int) *ids { return &ids{size: size, seed: 1, end: 2_000_000_000, length: 900} }

// id returns the i-th id. Ids from size on are not revoked.
func (in *ids) id(i int) (id [16]byte) {
	binary.LittleEndian.PutUint64(id[:], scatter(in.seed+uint64(2*i)))
	binary.LittleEndian.PutUint64(id[8:], scatter(in.seed+uint64(2*i+1)))
	return id
}

// scatter is the final mixing step of SplitMix64.
func scatter(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

var sidText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func (in *ids) event(i int) revocation.Event {
	id := in.id(i)
	return revocation.Event{
		Kind: revocation.KindSID, Value: sidText.EncodeToString(id[:]), At: in.end - in.length, ExpiresAt: in.end, Reason: revocation.ReasonLogoff,
	}
}

func (in *ids) batches() [][]revocation.Event {
	var batches [][]revocation.Event
	for from := 0; from < in.size; from += revocation.MaxBatchEvents {
		batch := make([]revocation.Event, 0, revocation.MaxBatchEvents)
		for i := from; i < min(from+revocation.MaxBatchEvents, in.size); i++ {
			batch = append(batch, in.event(i))
		}
		batches = append(batches, batch)
	}
	return batches
}

func (in *ids) revoke(d *revocation.Denylist) {
	for _, batch := range in.batches() {
		d.Apply(batch...)
	}
}

// asking has the queries of a benchmark, drawn and formatted before it starts. The texts of one
// token are adjacent in memory, as if a reader of its claims had just read them.
type asking struct {
	ids   [askMask + 1][16]byte
	texts string
}

const (
	askMask = 1<<14 - 1
	sidLen  = 26
	jtiLen  = 36
)

// asked draws tokens of sessions, starting with the id at offset.
func (in *ids) asked(offset int) *asking {
	a, r := new(asking), rand.New(rand.NewPCG(1, 2))
	var texts strings.Builder
	for i := range a.ids {
		a.ids[i] = in.id(offset + r.IntN(in.size))
		jti := hex.EncodeToString(a.ids[i][:])
		texts.WriteString(sidText.EncodeToString(a.ids[i][:]))
		texts.WriteString(strings.Join([]string{jti[:8], jti[8:12], jti[12:16], jti[16:20], jti[20:]}, "-"))
	}
	a.texts = texts.String()
	return a
}

func (a *asking) subject(i int) revocation.Subject {
	text := a.texts[i&askMask*(sidLen+jtiLen):][:sidLen+jtiLen]
	return revocation.Subject{SID: text[:sidLen], JTI: text[sidLen:], KID: "a-key", Sub: "a-subject", ClientID: "a-client"}
}

func newLRU(tb testing.TB, size int) *lru.Cache[[16]byte, int64] {
	tb.Helper()
	c, err := lru.New[[16]byte, int64](size)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// filled sums the time and the memory of filling a container.
type filled struct {
	took  time.Duration
	bytes float64
	times int
}

func (f *filled) add(fill func() any) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var made any
	f.took += stopwatch(func() { made = fill() })
	runtime.GC()
	runtime.ReadMemStats(&after)
	f.bytes += float64(after.HeapAlloc) - float64(before.HeapAlloc)
	f.times++
	runtime.KeepAlive(made)
}

func stopwatch(work func()) time.Duration {
	began := time.Now()
	work()
	return time.Since(began)
}

// contestant is other work on the same input with which [race] compares.
type contestant struct {
	name string
	work func(i int)
}

// race does a short operation b.N times, one after the other, and reports its time in multiples of
// the times of the others. They alternate with it, outside of the measured time.
func race(b *testing.B, work func(i int), others ...contestant) {
	b.Helper()
	run := func(n int, work func(i int)) time.Duration {
		return stopwatch(func() {
			for i := range n {
				work(i)
			}
		})
	}
	var own time.Duration
	times := make([]time.Duration, len(others))
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	for turn := range turns {
		n := b.N*(turn+1)/turns - b.N*turn/turns
		b.StartTimer()
		own += run(n, work)
		b.StopTimer()
		for i, o := range others {
			times[i] += run(n, o.work)
		}
	}
	for i, o := range others {
		b.ReportMetric(float64(own)/float64(times[i]), "x-"+o.name)
	}
}
