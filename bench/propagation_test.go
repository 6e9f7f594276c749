package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tokenbroker/broker"
	"tokenbroker/revocation"
	"tokenbroker/validator"
)

// BenchmarkPropagation measures the time from the call of LogOff until the last of the given number of
// services, each a validator with its own connection, ends the stream bound to the session's token. It
// alternates with its floor: a plain NATS server that publishes as many bytes to as many subscribers on
// separate connections, each of which verifies one Ed25519 signature over them, after as many bytes were
// appended to a file and synced. The services keep running while the floor is measured; raw-alone-p99-ms
// is the floor without them.
func BenchmarkPropagation(b *testing.B) {
	counts := []int{1, 10, 100}
	if testing.Short() {
		counts = counts[:2] // preparing 100 takes half a minute
	}
	for _, subscribers := range counts {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) { benchPropagation(b, subscribers) })
	}
}

func benchPropagation(b *testing.B, subscribers int) {
	n := newNetwork(b, nil)
	raw := newRawBroadcast(b, subscribers, n.batchBytes(b))
	var unloaded outcome
	for range 300 {
		unloaded.latencies = append(unloaded.latencies, raw.publish(b))
	}
	f := newFleet(b, n, subscribers)
	grants := n.signIn(b, b.N+1)
	f.logOff(b, grants[b.N]) // warm up
	var own, floor, answered outcome
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	for i := range b.N {
		f.bind(b, grants[i])
		b.StartTimer()
		everywhere, answer := f.logOff(b, grants[i])
		b.StopTimer()
		own.latencies = append(own.latencies, everywhere)
		answered.latencies = append(answered.latencies, answer)
		floor.latencies = append(floor.latencies, raw.publish(b))
	}
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}} {
		b.ReportMetric(own.quantile(q.at), q.name+"-ms")
		b.ReportMetric(floor.quantile(q.at), "raw-"+q.name+"-ms")
		b.ReportMetric(own.quantile(q.at)/floor.quantile(q.at), "x-raw-"+q.name)
	}
	b.ReportMetric(unloaded.quantile(0.99), "raw-alone-p99-ms")
	b.ReportMetric(answered.quantile(0.5), "answered-p50-ms")
}

// fleet is a number of services, each with a stream bound to the same token.
type fleet struct {
	network  *network
	services []*validator.Validator
	streams  []context.Context
	cancels  []context.CancelFunc
}

func newFleet(tb testing.TB, n *network, services int) *fleet {
	tb.Helper()
	f := &fleet{network: n}
	for range services {
		f.services = append(f.services, n.service(tb))
	}
	return f
}

// bind opens a stream for the grant's token in each service. Only the first service verifies the token.
func (f *fleet) bind(tb testing.TB, grant *broker.Grant) {
	tb.Helper()
	claims, err := f.services[0].Validate(tb.Context(), grant.AccessToken)
	if err != nil {
		tb.Fatal(err)
	}
	for _, cancel := range f.cancels {
		cancel() // of the previous streams, which have ended
	}
	f.streams, f.cancels = f.streams[:0], f.cancels[:0]
	for _, v := range f.services {
		stream, cancel := v.Bind(context.Background(), claims)
		f.cancels = append(f.cancels, cancel)
		f.streams = append(f.streams, stream)
	}
}

// logOff ends the session. It returns the time until the last stream ended, and the time until the
// caller had its answer.
func (f *fleet) logOff(tb testing.TB, grant *broker.Grant) (everywhere, answered time.Duration) {
	tb.Helper()
	began := time.Now()
	done := make(chan time.Duration, 1)
	go func() {
		off, err := f.network.LogOff(context.Background(), grant.RefreshToken, grant.CSRFToken, broker.Request{})
		if err != nil || !off.Ended || !off.Broadcast {
			tb.Errorf("a log-off: %+v, %v", off, err)
		}
		done <- time.Since(began)
	}()
	for _, stream := range f.streams {
		select {
		case <-stream.Done():
		case <-time.After(time.Minute):
			tb.Fatal("a service did not receive a log-off within a minute")
		}
	}
	everywhere = time.Since(began)
	return everywhere, <-done
}

// batchBytes returns the length of a message with one log-off.
func (n *network) batchBytes(tb testing.TB) int {
	tb.Helper()
	grant := n.signIn(tb, 1)[0]
	message, err := n.keys.SignFeed(revocation.BatchType, revocation.Batch{
		V: revocation.Version, Store: n.ledger.StoreID(), Origin: n.ledger.Origin(), Seq: 1000, At: time.Now().Unix(),
		Events: []revocation.Event{{
			Kind: revocation.KindSID, Value: grant.SID, At: time.Now().Unix(), ExpiresAt: time.Now().Unix() + 300, Reason: revocation.ReasonLogoff,
		}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return len(message)
}

// rawBroadcast is the floor: a signed message on disk, then over plain NATS to all subscribers.
type rawBroadcast struct {
	publisher   *nats.Conn
	file        *os.File
	message     []byte // a payload and its signature
	subscribers int
	heard       atomic.Pointer[sync.WaitGroup] // for the message that is being delivered
	forged      atomic.Bool
}

func newRawBroadcast(tb testing.TB, subscribers, size int) *rawBroadcast {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	server := startNATS(tb)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(err)
	payload := make([]byte, size-ed25519.SignatureSize)
	_, _ = rand.Read(payload)
	raw := &rawBroadcast{subscribers: subscribers, message: append(payload, ed25519.Sign(private, payload)...)}
	connect := func(options ...nats.Option) *nats.Conn {
		nc, err := nats.Connect(server.ClientURL(), options...)
		must(err)
		tb.Cleanup(nc.Close)
		return nc
	}
	for range subscribers {
		nc := connect()
		_, err := nc.Subscribe("raw", func(m *nats.Msg) {
			body := len(m.Data) - ed25519.SignatureSize
			if !ed25519.Verify(public, m.Data[:body], m.Data[body:]) {
				raw.forged.Store(true)
			}
			raw.heard.Load().Done()
		})
		must(err)
		must(nc.Flush())
	}
	raw.publisher = connect(nats.InProcessServer(server))
	raw.file, err = os.Create(filepath.Join(tb.TempDir(), "log"))
	must(err)
	tb.Cleanup(func() { _ = raw.file.Close() })
	return raw
}

// publish returns the time until the last subscriber had verified the message.
func (r *rawBroadcast) publish(tb testing.TB) time.Duration {
	tb.Helper()
	var heard sync.WaitGroup
	heard.Add(r.subscribers)
	r.heard.Store(&heard)
	began := time.Now()
	if _, err := r.file.Write(r.message); err != nil {
		tb.Fatal(err)
	}
	if err := syncData(r.file); err != nil {
		tb.Fatal(err)
	}
	if err := r.publisher.Publish("raw", r.message); err != nil {
		tb.Fatal(err)
	}
	heard.Wait()
	took := time.Since(began)
	if r.forged.Load() {
		tb.Fatal("a signature was invalid")
	}
	return took
}
